"""Updates on their way in: opened, checked, and added to the server's own model; a bad one is its client's failure."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from flwr.app import Array, Error, Message
from torch import Tensor

from thinwire.codec import Encoded
from thinwire.errors import WireError
from thinwire.flower import records
from thinwire.flower.consistency import Consistency, Layout, layout_of
from thinwire.flower.diagnosis import Retry
from thinwire.flower.engine import MOD_FAILED, set_message_id
from thinwire.flower.ledger import Transfer
from thinwire.flower.losses import loss_of, samples_of
from thinwire.flower.names import counterparts, in_order, moved, record_of, records_of, short
from thinwire.flower.nodes import Nodes, Sent
from thinwire.flower.protocol import STATELESS, UNTYPED, Reply
from thinwire.flower.records import Arrays
from thinwire.flower.rounds import trains
from thinwire.flower.update import View, apply_update
from thinwire.kernels.distortion import all_finite
from thinwire.wire import Limits, loads, loads_any
from thinwire.wire.frame import INLINE_SCHEMA

_log = logging.getLogger("thinwire")
_ROOM_BYTES, _MODELS, _EXPANSION = 1 << 24, 4, 64
"""A reply of other arrays than were sent may decode to so much: in all, models, and times its own bytes."""


@dataclass
class Opened:
    """A reply, read."""

    message: Message
    sent: Sent
    elapsed_s: float
    arrays: Arrays
    fresh: dict[str, Array] = field(default_factory=dict)
    """The arrays as the strategy gets them, where they are not the reply's own."""
    transfer: Transfer | None = None
    reply: Reply | None = None


class Uplink:
    """Opens replies and learns from them what each node holds."""

    def __init__(self, nodes: Nodes, ledger: list[Transfer], session: int) -> None:
        self._nodes, self._ledger, self._session = nodes, ledger, session
        self._consistency = Consistency()

    def open(self, replies: Sequence[tuple[Message, Sent, float]]) -> list[Message]:
        """Return replies without errors as the strategy expects them, in order; a bad one as that client's error.

        Each comes with what was sent, and the seconds since then (-1: not known).
        """
        read: dict[int, Opened] = {}
        refused: dict[int, WireError] = {}
        for at, (message, sent, elapsed_s) in enumerate(replies):
            try:
                read[at] = self._read(message, sent, elapsed_s)
            except WireError as error:
                refused[at] = error
        refused |= self._odd_ones({at: opened for at, opened in read.items() if trains(opened.sent.message)})
        return [
            self._refused(str(refused[at]), *replies[at]) if at in refused else self._accepted(read[at])
            for at in range(len(replies))
        ]

    def _odd_ones(self, read: Mapping[int, Opened]) -> dict[int, WireError]:
        """Return the replies that differ from the others to the same model."""
        groups: dict[tuple[str, Layout], dict[int, Layout]] = defaultdict(dict)
        for at, opened in read.items():
            if (sent := opened.sent).arrays.tensors:
                names = counterparts(opened.arrays.order, sent.arrays.order)
                groups[sent.kind, layout_of(sent.arrays, {})][at] = layout_of(opened.arrays, names)
        odd = dict[int, WireError]()
        for (kind, sent), layouts in groups.items():
            odd |= self._consistency.check(kind, layouts, sent)
        return odd

    def _read(self, message: Message, sent: Sent, elapsed_s: float) -> Opened:
        data = records.carried(message.content, records.UP)
        if data is not None:
            return self._decoded(message, sent, elapsed_s, data)
        arrays = records.read_untrusted(message.content)
        swapped = {name: records.to_array(arrays.tensors[name], arrays.untyped) for name in arrays.swapped}
        opened = Opened(message, sent, elapsed_s, arrays, swapped)
        if arrays.order:
            bases = counterparts(arrays.order, sent.model.tensors)
            _check_values(arrays.tensors, {name: sent.model.tensors[base] for name, base in bases.items()}, sent)
            size = arrays.dense_bytes
            opened.transfer = Transfer(
                sent.round,
                sent.node_id,
                "up",
                "dense",
                size,
                size,
                message=sent.kind,
                record=", ".join(records_of(arrays.order)),
            )
        return opened

    def _decoded(self, message: Message, sent: Sent, elapsed_s: float, data: bytes) -> Opened:
        if not sent.packed:
            raise WireError("a compressed update in answer to a message that carried no package")
        started, reply = time.perf_counter(), Reply.loads(data)
        if (reply.session, reply.sequence) != (self._session, sent.sequence):
            raise WireError(f"an update for message {reply.sequence} in answer to message {sent.sequence}")
        frame = self._frame(reply, sent)
        bases = counterparts(list(frame), sent.model.tensors)
        view = View({name: sent.model.tensors[base] for name, base in bases.items()})
        untyped = bool(reply.flags & UNTYPED)
        decoded = apply_update(frame, reply.verbatim, reply.alone, view, reply.scale)
        fresh = {name: records.to_array(x, untyped) for name, x in decoded}
        tensors = {name: records.view(array) for name, array in fresh.items()}
        _check_values(tensors, view.bases, sent)
        others = records.carried_beside(message.content)
        if others.keys() != {name for _, name in reply.others}:
            raise WireError("other arrays travel beside the update than it says")
        arrays = Arrays(tensors, others, in_order(list(tensors), reply.others), untyped)
        transfer = self._transfer(reply, len(data), frame, arrays, sent, time.perf_counter() - started)
        return Opened(message, sent, elapsed_s, arrays, fresh | others, transfer, reply)

    def _frame(self, reply: Reply, sent: Sent) -> dict[str, Encoded]:
        if not _has_schema(reply.frame):
            return loads(reply.frame, {moved(name, reply.record): spec for name, spec in sent.model.specs.items()})
        most = _ROOM_BYTES + _MODELS * sent.arrays.dense_bytes + _EXPANSION * len(reply.frame)
        return loads_any(reply.frame, Limits(decoded_bytes=most))

    def _accepted(self, opened: Opened) -> Message:
        sent, node, message = opened.sent, self._nodes[opened.sent.node_id], opened.message
        node.samples = samples_of(message) or node.samples
        if opened.reply is not None:
            node.stateless = bool(opened.reply.flags & STATELESS)
        if sent.packed:
            node.proven = True
            node.accept(sent, opened.elapsed_s)
        if sent.diagnosis is not None:
            node.plain |= sent.diagnosis.retry is Retry.DENSE
            _log.warning("node %d %s", sent.node_id, sent.diagnosis.text)
        if trains(sent.message) and (loss := loss_of(message)) is not None:
            self._nodes.reports.append((node.samples, loss))
        if opened.transfer is not None:
            self._ledger.append(opened.transfer)
        if opened.fresh:
            arrays = {
                full: opened.fresh.get(full) or message.content.array_records[record_of(full)][short(full)]
                for full in opened.arrays.order
            }
            message.content = records.replace_arrays(message.content, records.to_records(arrays, opened.arrays.order))
        return message

    def _refused(self, reason: str, message: Message, sent: Sent, elapsed_s: float) -> Message:
        self._nodes[sent.node_id].miss(sent, elapsed_s)
        _log.warning("the reply of node %d in round %d is refused: %s", sent.node_id, sent.round, reason)
        self.record_refusal(reason, sent)
        error = Message(Error(MOD_FAILED, f"thinwire: {reason}"), reply_to=sent.message)
        set_message_id(error, message.metadata.message_id)
        return error

    def record_refusal(self, reason: str, sent: Sent) -> None:
        """Write a reply that was not taken into the ledger."""
        size = sent.arrays.dense_bytes
        about = {"message": sent.kind, "record": sent.record}
        self._ledger.append(Transfer(sent.round, sent.node_id, "up", "refused", 0, size, reason=reason, **about))  # type: ignore[arg-type]

    def _transfer(
        self, reply: Reply, size: int, frame: Mapping[str, Encoded], arrays: Arrays, sent: Sent, decode_s: float
    ) -> Transfer:
        beside = sum(len(array.data) for array in arrays.others.values())
        return Transfer(
            sent.round,
            sent.node_id,
            "up",
            "update",
            size + beside,
            arrays.dense_bytes,
            reply.nmse,
            reply.encode_s,
            decode_s + reply.decode_s,
            {short(name): encoded.payload_bytes for name, encoded in frame.items()},
            message=sent.kind,
            record=", ".join(records_of(arrays.order)),
            codecs={short(name): str(encoded.codec) for name, encoded in frame.items()},
            not_compressed=beside,
        )


def _has_schema(frame: bytes) -> bool:
    return len(frame) > 5 and bool(frame[5] & INLINE_SCHEMA)


def _check_values(given: Mapping[str, Tensor], bases: Mapping[str, Tensor], sent: Sent) -> None:
    """Raise WireError on NaN or infinity where the model that was sent has none, or would have them in its own dtype."""
    for name, x in given.items() if sent.model.tensors else ():
        if not x.dtype.is_floating_point:
            continue
        base = bases.get(name)
        own = base if base is not None and base.dtype.is_floating_point else None
        if all_finite(x if own is None else x.to(own.dtype)):
            continue
        bad = ~torch.isfinite(x if own is None else x.to(own.dtype))
        if own is not None and own.shape == x.shape and not bool((bad & torch.isfinite(own)).any()):
            continue
        kinds = "" if base is None or base.dtype == x.dtype else f" (it is {x.dtype}, the model's {base.dtype})"
        raise WireError(f"array {short(name)!r} holds NaN or infinity{kinds}")
