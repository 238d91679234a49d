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
from thinwire.errors import WireError, escaped
from thinwire.flower import beside, records
from thinwire.flower.consistency import Consistency, Layout, layout_of, layout_of_answer
from thinwire.flower.diagnosis import Retry
from thinwire.flower.engine import MOD_FAILED, set_message_id, set_reply_to
from thinwire.flower.ledger import Transfer, opaque
from thinwire.flower.losses import loss_of, samples_of
from thinwire.flower.names import check_full, counterparts, in_order, moved, rearranged, records_of, short
from thinwire.flower.nodes import Nodes, Sent
from thinwire.flower.protocol import STATELESS, UNTYPED, Reply
from thinwire.flower.records import Arrays
from thinwire.flower.rounds import trains
from thinwire.flower.update import View, apply_update, check_places
from thinwire.kernels.distortion import all_finite
from thinwire.wire import Limits, loads, loads_any
from thinwire.wire.frame import INLINE_SCHEMA

_log = logging.getLogger("thinwire")
_LONGEST_REASON = 1000
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
            self._learn_from_retry(sent)
            try:
                read[at] = self._read(message, sent, elapsed_s)
            except WireError as error:
                refused[at] = error
            except Exception as error:  # whatever it is: it is that client's failure, and of nobody else
                _log.exception("the reply of node %d could not be read", sent.node_id)
                refused[at] = WireError(f"the reply cannot be read ({type(error).__name__}: {error})")
        refused |= self._odd_ones({at: opened for at, opened in read.items() if trains(opened.sent.message)})
        return [
            self._refused(str(refused[at]), *replies[at]) if at in refused else self._accepted(read[at])
            for at in range(len(replies))
        ]

    def _learn_from_retry(self, sent: Sent) -> None:
        """A client that answers what it was sent again was diagnosed rightly."""
        if sent.diagnosis is not None:
            self._nodes[sent.node_id].plain |= sent.diagnosis.retry is Retry.DENSE
            _log.warning("node %d %s", sent.node_id, sent.diagnosis.text)

    def _odd_ones(self, read: Mapping[int, Opened]) -> dict[int, WireError]:
        """Return the replies that differ from the others to the same model."""
        groups: dict[tuple[str, Layout], dict[int, Layout]] = defaultdict(dict)
        for at, opened in read.items():
            if (sent := opened.sent).arrays.tensors:
                names = counterparts(opened.arrays.order, sent.arrays.order)
                groups[sent.kind, layout_of_answer(sent.arrays)][at] = layout_of(opened.arrays, names)
        odd = dict[int, WireError]()
        for (kind, sent_layout), layouts in groups.items():
            odd |= self._consistency.check(kind, layouts, sent_layout)
        return odd

    def _read(self, message: Message, sent: Sent, elapsed_s: float) -> Opened:
        data = records.carried(message.content, records.UP)
        if data is not None:
            return self._decoded(message, sent, elapsed_s, data)
        arrays = records.read_untrusted(records.arrays_of(message.content))
        opened = Opened(message, sent, elapsed_s, arrays, dict(arrays.fresh))
        if arrays.order:
            _check_values(arrays, sent)
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
        check_full(frame)
        check_places(len(frame), reply.verbatim, reply.alone)
        carried = records.carried_beside(message.content)
        if carried.keys() != {name for _, name in reply.others}:
            raise WireError("other arrays travel beside the update than it says")
        unpacked = beside.unpack(carried, _most_bytes(sent, beside.travelling_bytes(carried)))
        order = in_order(list(frame), reply.others)
        _check_records(order, message)
        bases = counterparts(list(frame), sent.model.tensors)
        view = View({name: sent.model.tensors[base] for name, base in bases.items()})
        untyped = bool(reply.flags & UNTYPED)
        decoded = apply_update(frame, reply.verbatim, reply.alone, view, reply.scale)
        fresh = {name: records.to_array(x, untyped) for name, x in decoded}
        tensors = {name: records.view(array) for name, array in fresh.items()}
        others = records.read_untrusted(unpacked)
        arrays = Arrays(tensors | others.tensors, others.others, order, untyped)
        _check_values(arrays, sent)
        took_s = time.perf_counter() - started
        transfer = self._transfer(reply, len(data), carried, frame, arrays, sent, took_s)
        return Opened(message, sent, elapsed_s, arrays, {**fresh, **unpacked, **others.fresh}, transfer, reply)

    def _frame(self, reply: Reply, sent: Sent) -> dict[str, Encoded]:
        if not _has_schema(reply.frame):
            return loads(reply.frame, {moved(name, reply.record): spec for name, spec in sent.model.specs.items()})
        return loads_any(reply.frame, Limits(decoded_bytes=_most_bytes(sent, len(reply.frame))))

    def _accepted(self, opened: Opened) -> Message:
        sent, node, message = opened.sent, self._nodes[opened.sent.node_id], opened.message
        node.samples = samples_of(message) or node.samples
        if opened.reply is not None:
            node.stateless = bool(opened.reply.flags & STATELESS)
        if sent.packed:
            node.proven = True
            node.accept(sent, opened.elapsed_s)
        if trains(sent.message) and (loss := loss_of(message)) is not None:
            self._nodes.reports.append((node.samples, loss))
        if opened.transfer is not None:
            self._ledger.append(opened.transfer)
        self._ledger += opaque(message.content, sent.round, sent.node_id, "up", sent.kind)
        order = _order(opened)
        if opened.fresh or order != opened.arrays.order:
            arrays = records.arrays_of(message.content) | opened.fresh
            message.content = records.replace_arrays(message.content, records.to_records(arrays, order))
        return message

    def _refused(self, why: str, message: Message, sent: Sent, elapsed_s: float) -> Message:
        reason = escaped(why, _LONGEST_REASON)
        self._nodes[sent.node_id].miss(sent, elapsed_s)
        _log.warning("the reply of node %d in round %d is refused: %s", sent.node_id, sent.round, reason)
        self.record_refusal(reason, sent)
        error = Message(Error(MOD_FAILED, f"thinwire: {reason}"), reply_to=sent.message)
        set_message_id(error, message.metadata.message_id)
        return error

    def open_unexpected(self, reply: Message) -> Message:
        """Return a reply to a message that is not known, or was given up: as it is, if a strategy can read it."""
        if reply.has_error():
            return reply
        reason = "this compressed update answers a message that is not waited for any more"
        if records.carried(reply.content, records.UP) is None:
            try:
                arrays = records.arrays_of(reply.content)
                fresh = records.read_untrusted(arrays).fresh
            except WireError as error:
                reason = str(error)
            else:
                if fresh:
                    anew = records.to_records({**arrays, **fresh}, list(arrays))
                    reply.content = records.replace_arrays(reply.content, anew)
                return reply
        refusal = Message(Error(MOD_FAILED, f"thinwire: {reason}"), reply_to=reply)
        set_reply_to(refusal, reply.metadata.reply_to_message_id)
        set_message_id(refusal, reply.metadata.message_id)
        return refusal

    def record_refusal(self, reason: str, sent: Sent) -> None:
        """Write a reply that was not taken into the ledger."""
        size = sent.arrays.dense_bytes
        about = {"message": sent.kind, "record": sent.record}
        self._ledger.append(Transfer(sent.round, sent.node_id, "up", "refused", 0, size, reason=reason, **about))  # type: ignore[arg-type]

    def _transfer(
        self,
        reply: Reply,
        size: int,
        carried: Mapping[str, Array],
        frame: Mapping[str, Encoded],
        arrays: Arrays,
        sent: Sent,
        decode_s: float,
    ) -> Transfer:
        return Transfer(
            sent.round,
            sent.node_id,
            "up",
            "update",
            size + beside.travelling_bytes(carried),
            arrays.dense_bytes,
            reply.nmse,
            reply.encode_s,
            decode_s + reply.decode_s,
            {short(name): encoded.payload_bytes for name, encoded in frame.items()},
            message=sent.kind,
            record=", ".join(records_of(arrays.order)),
            codecs={short(name): str(encoded.codec) for name, encoded in frame.items()},
            not_compressed=beside.as_they_are_bytes(carried),
        )


def _most_bytes(sent: Sent, travelling: int) -> int:
    """Return how much a reply of so many bytes may decode to."""
    return _ROOM_BYTES + _MODELS * sent.arrays.dense_bytes + _EXPANSION * travelling


def _has_schema(frame: bytes) -> bool:
    return len(frame) > 5 and bool(frame[5] & INLINE_SCHEMA)


def _order(opened: Opened) -> tuple[str, ...]:
    """Return the order in which the strategy gets the arrays: as it sent them, since some go by places, not names."""
    sent, given = opened.sent.arrays.order, opened.arrays.order
    return rearranged(given, counterparts(given, sent), sent)


def _check_records(names: Sequence[str], message: Message) -> None:
    """Raise WireError where arrays would come in a record that a message has for something else."""
    taken = message.content.keys() - message.content.array_records.keys()
    if clash := taken & set(records_of(names)):
        raise WireError(f"arrays in record {min(clash)!r}, which holds something else")


def _check_values(arrays: Arrays, sent: Sent) -> None:
    """Raise WireError on what no strategy averages with the model that was sent.

    That is NaN or infinity, in the model's own dtype, where the model has none; and what are no numbers where it has
    some.
    """
    if not sent.arrays.order:
        return
    bases = counterparts(arrays.order, sent.arrays.order)
    for name, x in arrays.tensors.items():
        if x.dtype.is_floating_point:
            _check_finite(name, x, sent.arrays.tensors.get(bases.get(name, "")))
    for name, array in arrays.others.items():
        base = bases.get(name, "")
        like = sent.arrays.tensors.get(base, sent.arrays.others.get(base))
        kind, _ = records.kind_and_shape(array)
        if isinstance(like, Tensor) and kind not in records.NUMBERS:
            raise WireError(f"array {short(name)!r} is {kind}, expected numbers")
        if not records.finite_as(array, like):
            raise WireError(f"array {short(name)!r} holds NaN or infinity")


def _check_finite(name: str, x: Tensor, base: Tensor | None) -> None:
    own = base if base is not None and base.dtype.is_floating_point else None
    narrow = x if own is None else x.to(own.dtype)
    if all_finite(narrow):
        return
    if own is not None and own.shape == x.shape and not bool((~torch.isfinite(narrow) & torch.isfinite(own)).any()):
        return
    kinds = "" if base is None or base.dtype == x.dtype else f" (it is {x.dtype}, the model's {base.dtype})"
    raise WireError(f"array {short(name)!r} holds NaN or infinity{kinds}")
