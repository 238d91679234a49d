"""The server's side: a Grid around a Grid. Any strategy, any workflow, unchanged: all of them speak through the Grid."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from torch import Tensor

from thinwire.codec import Encoded, specs
from thinwire.compressor import add, check_finite
from thinwire.errors import WireError
from thinwire.flower import carrier
from thinwire.flower.engine import MOD_FAILED
from thinwire.flower.ledger import Transfer, write_ledger
from thinwire.flower.package import Instructions, Reply
from thinwire.flower.references import MISSING, Held, Path, Publisher
from thinwire.policy import Signals
from thinwire.registry import text
from thinwire.wire import decode_message, loads
from thinwire.zoo import compressor

_log = logging.getLogger("thinwire")
_TRAINS = "train"
_STRIKES = 2


@dataclass
class _Node:
    """What the server knows of a node."""

    held: Held = field(default_factory=Held)
    accepted: int = -1
    samples: int | None = None
    plain: bool = False
    """It runs without thinwire."""
    proven: bool = False
    """It answered a compressed model: it runs thinwire."""
    strikes: int = 0
    """Failures in a row on compressed models, before it was proven."""


@dataclass(frozen=True)
class _Sent:
    """What is needed to open the reply to a message."""

    message: Message
    tensors: dict[str, Tensor]
    after: Held
    round: int
    packed: bool


class CompressedGrid(Grid):  # type: ignore[misc]
    """A Grid that compresses models on their way out and opens compressed updates on their way in.

    ``uplink`` and ``downlink`` are a method's name, a codec, a policy or a compressor, as text or object. ``rounds`` is
    told to policies that tighten over a run. A malformed, non-finite or outsized reply becomes that client's failure, with
    a reason; the strategy goes on with the others. ``ledger`` records every transfer.
    """

    def __init__(
        self,
        grid: Grid,
        uplink: object = "auto",
        downlink: object = "auto",
        rounds: int | None = None,
        keyframe_every: int = 8,
    ) -> None:
        self.ledger: list[Transfer] = []
        compressor(uplink, "up")
        self._uplink = uplink if isinstance(uplink, str) else text(uplink)
        self._downlink = compressor(downlink, "down")
        self._grid, self._rounds, self._keyframe_every = grid, rounds, keyframe_every
        self._publishers: dict[bytes, Publisher] = {}
        self._nodes: dict[int, _Node] = {}
        self._sent: dict[str, _Sent] = {}
        self._round = 0

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
        packed = self._pack_all(list(messages))
        ids = list(self._grid.push_messages([sent.message for sent in packed]))
        self._sent.update(zip(ids, packed, strict=True))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull and open."""
        return [self._open(reply) for reply in self._grid.pull_messages(message_ids)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Compress, send, wait for the replies and open them. Replies that never came leave their clients' state open."""
        packed = self._pack_all(list(messages))
        replies = list(self._grid.send_and_receive([sent.message for sent in packed], timeout=timeout))
        self._sent.update({sent.message.metadata.message_id: sent for sent in packed})
        opened = [self._open(reply) for reply in replies]
        for sent in packed:
            self._sent.pop(sent.message.metadata.message_id, None)
        return opened

    def _node(self, node_id: int) -> _Node:
        return self._nodes.setdefault(node_id, _Node())

    def _pack_all(self, messages: list[Message]) -> list[_Sent]:
        cohort = [message.metadata.dst_node_id for message in messages]
        self._round += any(message.metadata.message_type == _TRAINS for message in messages)
        decoded: dict[int, dict[str, Tensor]] = {}
        return [self._pack(message, cohort, decoded) for message in messages]

    def _pack(self, message: Message, cohort: list[int], decoded: dict[int, dict[str, Tensor]]) -> _Sent:
        """Replace a message's arrays by a package. Strategies share one content among messages: it is read once."""
        content, node_id = message.content, message.metadata.dst_node_id
        if not carrier.compressible(content):
            return _Sent(message, {}, self._node(node_id).held, self._round, packed=False)
        if id(content) not in decoded:
            decoded[id(content)] = carrier.to_tensors(content)
        tensors, node = decoded[id(content)], self._node(node_id)
        if node.plain:
            self._record(node_id, "down", "dense", _dense(tensors), _dense(tensors))
            return _Sent(message, tensors, node.held, self._round, packed=False)
        publisher, encode_s = self._publish(tensors, cohort)
        path = publisher.path(node.held)
        data = publisher.package(path, self._instructions(message, cohort))
        self._record_down(node_id, path, len(data), tensors, publisher, encode_s)
        after = publisher.after(path, node.held)
        # Until the reply says that the package arrived, only what the node holds before and after it is certain.
        node.held = Held(*(x if x == y else None for x, y in zip(_pair(node.held), _pair(after), strict=True)))
        first = next(iter(content.array_records))
        fresh = carrier.replace_arrays(content, {first: carrier.carry(data, carrier.DOWN)})
        exact = {name: x.to(publisher.schema[name].dtype) for name, x in tensors.items()}
        return _Sent(_readdressed(message, fresh), exact, after, self._round, packed=True)

    def _publish(self, tensors: dict[str, Tensor], cohort: list[int]) -> tuple[Publisher, float]:
        key = repr([(name, tuple(x.shape)) for name, x in tensors.items()]).encode()
        if key not in self._publishers:
            self._publishers[key] = Publisher(tensors, self._downlink, self._keyframe_every)
        publisher, started = self._publishers[key], time.perf_counter()
        publisher.publish(tensors, Signals(max(1, self._round), self._rounds), [self._node(n).held for n in cohort])
        return publisher, time.perf_counter() - started

    def _instructions(self, message: Message, cohort: list[int]) -> Instructions:
        node = self._node(message.metadata.dst_node_id)
        known = [s for n in cohort if (s := self._node(n).samples) is not None]
        quantile = -1.0 if node.samples is None else sum(s <= node.samples for s in known) / len(known)
        return Instructions(self._uplink, max(1, self._round), self._rounds or 0, node.accepted, quantile)

    def _open(self, reply: Message) -> Message:
        """Return the reply as the strategy expects it; a bad one as that client's error."""
        sent = self._sent.pop(reply.metadata.reply_to_message_id, None)
        if sent is None:
            return reply
        node_id = sent.message.metadata.dst_node_id
        if reply.has_error():
            self._learn_from_error(reply, sent, node_id)
            return reply
        try:
            opened = self._opened(reply, sent, node_id)
        except WireError as error:
            return self._refused(sent, node_id, str(error), reply)
        node = self._node(node_id)
        node.held, node.samples, node.strikes = sent.after, _samples(reply) or node.samples, 0
        node.proven |= sent.packed
        return opened

    def _opened(self, reply: Message, sent: _Sent, node_id: int) -> Message:
        found = carrier.carried_anywhere(reply.content, carrier.UP)
        if found is None:
            self._check_dense(reply, sent, node_id)
            return reply
        if not sent.packed:
            raise WireError("a compressed update in answer to a message that carried no model")
        started = time.perf_counter()
        answer = Reply.loads(found[1])
        if answer.round != sent.round:
            raise WireError(f"an update of round {answer.round} in answer to round {sent.round}")
        message = loads(answer.frame, specs(sent.tensors))
        trained = add(sent.tensors, decode_message(message))
        check_finite(trained)
        self._node(node_id).accepted = answer.round
        self._record_up(node_id, answer, len(found[1]), message, sent, time.perf_counter() - started)
        reply.content = carrier.replace_arrays(reply.content, carrier.to_records(trained))
        return reply

    def _check_dense(self, reply: Message, sent: _Sent, node_id: int) -> None:
        """A reply with ordinary arrays must match the model that was sent, or it would abort or poison the whole round."""
        if not reply.content.array_records or not sent.tensors:
            return
        given = carrier.to_tensors(reply.content)
        for name, x in sent.tensors.items():
            if name not in given or given[name].shape != x.shape:
                raise WireError(f"array {carrier.short(name)!r} is missing or of another shape than the model's")
        check_finite(given)
        self._record(node_id, "up", "dense", _dense(given), _dense(given))

    def _learn_from_error(self, reply: Message, sent: _Sent, node_id: int) -> None:
        reason = reply.error.reason or ""
        node = self._node(node_id)
        self._record(node_id, "up", "refused", 0, _dense(sent.tensors), reason=reason)
        node.strikes += sent.packed and not node.proven and "thinwire:" not in reason
        if not node.plain and (carrier.DOWN in reason or node.strikes == _STRIKES):
            node.plain = True
            _log.warning(
                "node %d runs without thinwire and failed on a compressed model (%s). From now on it is sent dense "
                "arrays; to compress its link too, add `app = compress_client(app)` to its ClientApp.",
                node_id,
                reason,
            )
        elif MISSING in reason:
            node.held = Held()
            _log.warning("node %d lost its reference and is sent the whole model next time", node_id)
        else:
            _log.warning("node %d failed in round %d: %s", node_id, sent.round, reason)

    def _refused(self, sent: _Sent, node_id: int, reason: str, reply: Message) -> Message:
        _log.warning("the reply of node %d in round %d is refused: %s", node_id, sent.round, reason)
        self._record(node_id, "up", "refused", 0, _dense(sent.tensors), reason=reason)
        error = Message(Error(MOD_FAILED, f"thinwire: {reason}"), reply_to=sent.message)
        error.metadata.__dict__["_message_id"] = reply.metadata.message_id
        return error

    def _record(self, node_id: int, direction: Any, kind: str, payload: int, dense: int, **more: Any) -> None:
        self.ledger.append(Transfer(max(1, self._round), node_id, direction, kind, payload, dense, **more))

    def _record_down(
        self, node_id: int, path: Path, size: int, tensors: dict[str, Tensor], publisher: Publisher, encode_s: float
    ) -> None:
        report, sizes = publisher.report, {}
        if path.kind in ("delta", "snapshot"):
            sizes = {carrier.short(name): t.payload_bytes for name, t in report.tensors.items()}
        nmse = report.nmse if path.kind == "delta" else None
        self._record(
            node_id, "down", path.kind, size, _dense(tensors), nmse=nmse, encode_s=encode_s, tensors=sizes
        )

    def _record_up(
        self, node_id: int, answer: Reply, size: int, message: dict[str, Encoded], sent: _Sent, decode_s: float
    ) -> None:
        sizes = {carrier.short(name): encoded.payload_bytes for name, encoded in message.items()}
        total_s = decode_s + answer.decode_s
        costs = {"nmse": answer.nmse, "encode_s": answer.encode_s, "decode_s": total_s, "tensors": sizes}
        self._record(node_id, "up", "update", size, _dense(sent.tensors), **costs)


def _pair(held: Held) -> tuple[bytes | None, bytes | None]:
    return held.current, held.keyframe


def _dense(tensors: dict[str, Tensor]) -> int:
    return sum(x.numel() * x.itemsize for x in tensors.values())


def _samples(reply: Message) -> int | None:
    for record in reply.content.metric_records.values():
        if isinstance(count := record.get("num-examples"), int | float):
            return int(count)
    return None


def _readdressed(message: Message, content: RecordDict) -> Message:
    """Return a new message with the same address and other content: the strategy's own is never changed."""
    m = message.metadata
    return Message(content, dst_node_id=m.dst_node_id, message_type=m.message_type, ttl=m.ttl, group_id=m.group_id)


class _CompressedServerApp(ServerApp):  # type: ignore[misc]
    """A ServerApp that hands another a CompressedGrid."""

    def __init__(self, inner: ServerApp, ledger: str | None, **settings: Any) -> None:
        super().__init__()
        self._inner, self._ledger, self._settings = inner, ledger, settings

    def __call__(self, grid: Grid, context: Context) -> None:
        config = context.run_config
        settings = {name: config.get(name) or value for name, value in self._settings.items()}
        rounds = settings.pop("rounds") or config.get("num-server-rounds")
        compressed = CompressedGrid(grid, rounds=int(rounds) if rounds else None, **settings)
        try:
            self._inner(grid=compressed, context=context)
        finally:
            path = config.get("ledger") or self._ledger
            if path:
                write_ledger(compressed.ledger, str(path))


def compress_server(
    app: ServerApp,
    uplink: object = "auto",
    downlink: object = "auto",
    rounds: int | None = None,
    ledger: str | None = None,
) -> ServerApp:
    """Return a ServerApp that compresses both directions of whatever ``app`` does, with any strategy.

    ``uplink`` and ``downlink``: see ``CompressedGrid``; the run config's ``uplink``, ``downlink`` and ``ledger`` go before
    these arguments. ``ledger`` names a JSON file that is written when the run ends. Raises ValueError on a description
    that cannot be read.
    """
    compressor(uplink, "up"), compressor(downlink, "down")
    return _CompressedServerApp(app, ledger, uplink=uplink, downlink=downlink, rounds=rounds)

