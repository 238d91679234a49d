"""A Grid around a Grid. Any strategy, any workflow, unchanged: all of them speak through the Grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from thinwire.flower.downlink import Downlink
from thinwire.flower.exchange import Clock, Timed
from thinwire.flower.instructions import Instructions
from thinwire.flower.ledger import Transfer
from thinwire.flower.nodes import TRAINS, Nodes, Sent
from thinwire.flower.uplink import Uplink
from thinwire.registry import text
from thinwire.zoo import compressor


class CompressedGrid(Grid):
    """A Grid that compresses models on their way out and opens compressed updates on their way in.

    ``uplink`` and ``downlink`` are a method's name, a codec, a policy or a compressor, as text or object. ``rounds`` is
    told to policies that tighten over a run. A malformed, non-finite or outsized reply becomes that client's failure,
    with a reason; the strategy goes on with the others. ``ledger`` records every transfer. Raises ValueError on a
    description that cannot be read.
    """

    def __init__(
        self,
        grid: Grid,
        uplink: object = "auto",
        downlink: object = "auto",
        rounds: int | None = None,
        keyframe_every: int = 4,
    ) -> None:
        compressor(uplink, "up")
        self.ledger: list[Transfer] = []
        self.nodes = Nodes()
        self._grid, self._clock, self._rounds, self._round = grid, Clock(grid), rounds or 0, 0
        self._uplink_text = uplink if isinstance(uplink, str) else text(uplink)
        self._downlink = Downlink(self.nodes, self.ledger, compressor(downlink, "down"), keyframe_every)
        self._uplink = Uplink(self.nodes, self.ledger)
        self._waiting: dict[str, Sent] = {}

    def __getattr__(self, name: str) -> Any:
        """Everything else is the inner Grid's."""
        return getattr(self._grid, name)

    def set_run(self, run: Any) -> None:
        """Delegate."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """Delegate."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Delegate."""
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """Delegate."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Compress and push."""
        packed = self._pack(messages)
        ids = self._clock.push([sent.message for sent in packed])
        self._waiting.update(zip(ids, packed, strict=True))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull and open."""
        return [self._open(timed) for timed in self._clock.pull(message_ids)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Compress, send, wait and open. Of a client whose reply never came only what is certain counts as held."""
        packed = self._pack(messages)
        replies = self._clock.exchange([sent.message for sent in packed], timeout)
        ids = [sent.message.metadata.message_id for sent in packed]
        self._waiting.update(zip(ids, packed, strict=True))
        opened = [self._open(timed) for timed in replies]
        for message_id in ids:
            if (sent := self._waiting.pop(message_id, None)) and sent.packed:
                self.nodes[sent.node_id].miss(sent.round, self._clock.elapsed_s(message_id))
        return opened

    def _pack(self, messages: Iterable[Message]) -> list[Sent]:
        outgoing = list(messages)
        if any(message.metadata.message_type == TRAINS for message in outgoing):
            self._begin_round()
        return self._downlink.pack_all(outgoing, Instructions(self._uplink_text, max(1, self._round), self._rounds))

    def _begin_round(self) -> None:
        if self._round:
            self.nodes.end_round()
        self._round += 1

    def _open(self, timed: Timed) -> Message:
        sent = self._waiting.pop(timed.reply.metadata.reply_to_message_id, None)
        return timed.reply if sent is None else self._uplink.open(timed.reply, sent, timed.elapsed_s)
