"""A Grid around a Grid. Any strategy, any workflow, unchanged: all of them speak through the Grid."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flwr.app import Error, Message
from flwr.serverapp import Grid

from thinwire.errors import escaped
from thinwire.flower import records
from thinwire.flower.diagnosis import Diagnosis, Retry, diagnose
from thinwire.flower.downlink import Downlink, Retrying
from thinwire.flower.engine import CLIENT_RAISED, set_message_id, set_reply_to
from thinwire.flower.ledger import Transfer
from thinwire.flower.message_timer import MessageTimer, Timed
from thinwire.flower.nodes import IN_FLIGHT, Nodes, Sent
from thinwire.flower.protocol import Instructions
from thinwire.flower.round_log import RoundLog
from thinwire.flower.rounds import Rounds
from thinwire.flower.update import STATISTICS
from thinwire.flower.uplink import Uplink
from thinwire.registry import text
from thinwire.zoo import compressor

_MOST_RETRIES = 2
_LONGEST_REASON = 1000
"""Characters of a client's error that are kept and shown."""


class CompressedGrid(Grid):
    """A Grid that compresses models on their way out and opens compressed updates on their way in.

    A malformed, non-finite or outsized reply becomes that client's failure, with a reason; the strategy goes on with
    the others. A client that lost its state, or that runs without thinwire, is sent the message again, so that no round
    loses it. Threads may use it side by side. ``ledger`` records every transfer.

    Args:
        grid: the Grid that delivers.
        uplink: how clients compress: a method's name, a codec, a policy or a compressor, as text or object.
        downlink: the same for the server.
        rounds: told to policies that tighten over a run.
        exact: patterns of names, such as ``"*running_* head.*"``: these tensors travel losslessly, both ways.
        share: of all clients, those that train in a round, as far as that is known before one was seen.
        reference_bytes: most bytes of models that are kept since clients hold them; a client whose reference had to go
            is sent the whole model.

    Raises:
        TypeError: ``grid`` is no Grid.
        ValueError: a description that cannot be read, or a grid that compresses already.
    """

    def __init__(
        self,
        grid: Grid,
        uplink: object = "auto",
        downlink: object = "auto",
        rounds: int | None = None,
        exact: str = STATISTICS,
        reference_bytes: int = 1 << 31,
        share: float = 1.0,
    ) -> None:
        if isinstance(grid, CompressedGrid):
            raise ValueError("this Grid compresses already: wrap it once (compress_server does so by itself)")
        compressor(uplink, "up")
        told = Instructions(uplink if isinstance(uplink, str) else text(uplink), 1, rounds or 0, exact=exact)
        self.ledger: list[Transfer] = []
        self.nodes = Nodes()
        self._grid, self._timer, self._rounds, self._lock = grid, MessageTimer(grid), Rounds(), threading.RLock()
        self._downlink = Downlink(self.nodes, self._rounds, self.ledger, told, downlink, reference_bytes)
        self._uplink = Uplink(self.nodes, self.ledger, self._downlink.session)
        self.rounds_log = RoundLog(self.ledger)
        self._expected_rounds, self._share = rounds or 0, share
        self._waiting: dict[str, Sent] = {}
        self._newest: dict[str, str] = {}
        """By the id that the strategy knows: that of a message's second sending."""

    def __getattr__(self, name: str) -> Any:
        """Everything else is the inner Grid's."""
        if name.startswith("_"):  # so that copying, which asks before there is an inner Grid, ends
            raise AttributeError(name)
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
        return self._push(self._pack(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull and open. A message that had to be sent again has no reply until its second sending has one."""
        with self._lock:
            newest = [self._newest.get(message_id, message_id) for message_id in message_ids]
        with self._lock:
            replies, retries = self._open(self._timer.pull(newest))
            again = self._downlink.pack_again(retries)
        if again:
            self._push(again)
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Compress, send, wait and open. Of a client whose reply never came only what is certain counts as held."""
        end = None if timeout is None else time.monotonic() + timeout
        packed, replies = self._pack(messages), list[Message]()
        while packed:
            left = None if end is None else max(0.0, end - time.monotonic())
            with self._missed_if_raised(packed):
                timed = self._timer.exchange([sent.message for sent in packed], left)
            with self._lock:
                self._register(packed)
                opened, retries = self._open(timed)
                replies += opened
                self._lose([sent.message.metadata.message_id for sent in packed])
                if end is not None and time.monotonic() >= end:
                    replies += [error for _, _, error in retries]
                    retries = []
                packed = self._downlink.pack_again(retries)
        return replies

    def finish(self) -> None:
        """Log the last round and what the whole run cost; warn of a run in which nothing was compressed."""
        with self._lock:
            self.rounds_log.round_ends(self._rounds.number, self.nodes)
            self.rounds_log.run_ends(self.nodes)

    def _pack(self, messages: Iterable[Message]) -> list[Sent]:
        outgoing = list(messages)
        with self._lock:
            if self._rounds.begins(outgoing):
                if self._rounds.number > 1:
                    self.nodes.end_round()
                    self.rounds_log.round_ends(self._rounds.number - 1, self.nodes)
                self._expect(len(outgoing))
            return self._downlink.pack(outgoing, self._rounds.cohort(outgoing))

    def _expect(self, outgoing: int) -> None:
        """Tell the downlink how many messages a client is likely to train on, as a round of so many begins.

        Where messages go out one by one (Flower's older API), the last round says how many train in one.
        """
        if not self._expected_rounds:
            return
        training = outgoing if outgoing > 1 else self._rounds.trained_before
        if training:
            self._share = training / max(training, len(list(self._grid.get_node_ids())))
        self._downlink.expect(self._expected_rounds * self._share)

    def _push(self, packed: Sequence[Sent]) -> list[str]:
        with self._missed_if_raised(packed):
            ids = self._timer.push([sent.message for sent in packed])
        if len(ids) == len(packed):
            for sent, message_id in zip(packed, ids, strict=True):
                set_message_id(sent.message, message_id or sent.message.metadata.message_id)
        with self._lock:
            self._register(packed)
            # What the inner Grid could not push has no id, or None for one.
            known = {sent.message.metadata.message_id for sent in packed}
            self._lose(sorted(known - set(ids)))
            for node_id in {sent.node_id for sent in packed}:
                to_node = [message_id for message_id, sent in self._waiting.items() if sent.node_id == node_id]
                self._lose(to_node[:-IN_FLIGHT], failed=False)  # some apps push, and never pull
        return ids

    @contextmanager
    def _missed_if_raised(self, packed: Sequence[Sent]) -> Iterator[None]:
        """Wait for nothing that the inner Grid raised on."""
        try:
            yield
        except BaseException:
            with self._lock:
                for sent in packed:
                    self.nodes[sent.node_id].miss(sent, -1.0)
            raise

    def _register(self, packed: Sequence[Sent]) -> None:
        for sent in packed:
            message_id = sent.message.metadata.message_id
            sent.known_as = sent.known_as or message_id
            set_message_id(sent.original, sent.known_as)
            self._waiting[message_id] = sent
            if sent.known_as != message_id:
                self._newest[sent.known_as] = message_id

    def _lose(self, ids: Sequence[str], failed: bool = True) -> None:
        """Wait for no replies to these any more; that they ``failed`` is said."""
        for message_id in ids:
            if sent := self._waiting.pop(message_id, None):
                self.nodes[sent.node_id].miss(sent, self._timer.elapsed_s(message_id))
                self._newest.pop(sent.known_as, None)
                if failed:
                    self.rounds_log.failed(sent, "no reply in time")

    def _open(self, timed: Sequence[Timed]) -> tuple[list[Message], list[Retrying]]:
        """Return the replies as the strategy expects them, and the messages to send again, with why."""
        replies: dict[int, Message] = {}
        answers, retries = dict[int, tuple[Message, Sent, float]](), list[Retrying]()
        for at, (reply, elapsed_s) in enumerate(timed):
            sent = self._answered(reply)
            if sent is not None and _is_echo(reply, sent):
                reply = _unread(reply, sent)
            if sent is None:
                replies[at] = self._uplink.open_unexpected(reply)
            elif not reply.has_error():
                answers[at] = reply, sent, elapsed_s
            elif retry := self._failed(reply, sent, elapsed_s):
                retries.append((sent, retry, reply))
            else:
                replies[at] = reply
            if sent is not None:
                set_reply_to(reply, sent.known_as)
                self._newest.pop(sent.known_as, None)
        opened = self._uplink.open(list(answers.values()))
        for (at, (_, sent, _)), message in zip(answers.items(), opened, strict=True):
            set_reply_to(message, sent.known_as)
            self.rounds_log.answered(sent, message)
            replies[at] = message
        return [replies[at] for at in sorted(replies)], retries

    def _failed(self, reply: Message, sent: Sent, elapsed_s: float) -> Diagnosis | None:
        """Note a client's error; returns why to send its message again, or None where there is nothing to try."""
        node, reason = self.nodes[sent.node_id], escaped(reply.error.reason or "", _LONGEST_REASON)
        node.miss(sent, elapsed_s)
        self._uplink.record_refusal(reason, sent)
        diagnosis = diagnose(reply.error.code, reason, sent.packed, node.proven)
        if diagnosis.retry is Retry.WHOLE:
            node.forget()
        if diagnosis.retry is not None and sent.attempt <= _MOST_RETRIES:
            return diagnosis
        self.rounds_log.failed(sent, diagnosis.text)
        return None

    def _answered(self, reply: Message) -> Sent | None:
        """Return what a reply answers; None: nothing that is waited for, or nothing that its sender was sent."""
        about = reply.metadata
        sent = self._waiting.get(about.reply_to_message_id)
        if sent is None or (not reply.has_error() and about.src_node_id != sent.node_id):
            return None
        return self._waiting.pop(about.reply_to_message_id)


def _is_echo(reply: Message, sent: Sent) -> bool:
    return sent.packed and not reply.has_error() and records.carried(reply.content, records.DOWN) is not None


def _unread(reply: Message, sent: Sent) -> Message:
    """Return the error that a client without thinwire should have answered, instead of what it was sent."""
    reason = f"the app answers the {records.DOWN!r} that it was sent, unread"
    error = Message(Error(CLIENT_RAISED, reason), reply_to=sent.message)
    set_message_id(error, reply.metadata.message_id)
    return error
