"""Models on their way out: every array of a message becomes one package."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flwr.app import Message, RecordDict
from torch import Tensor

from thinwire.compressor import Compressor
from thinwire.flower import carrier
from thinwire.flower.instructions import Instructions
from thinwire.flower.ledger import Transfer
from thinwire.flower.nodes import Nodes, Sent, dense_bytes
from thinwire.flower.references import Held, Path, Publisher
from thinwire.policy import Signals


class Downlink:
    """Packs messages: one `Publisher` for each schema, one path for each node."""

    def __init__(self, nodes: Nodes, ledger: list[Transfer], compressor: Compressor, keyframe_every: int) -> None:
        self._nodes, self._ledger = nodes, ledger
        self._compressor, self._keyframe_every = compressor, keyframe_every
        self._publishers: dict[str, Publisher] = {}

    def pack_all(self, messages: Sequence[Message], told: Instructions) -> list[Sent]:
        """Return the messages as they should be sent. Strategies share one content among many: it is read once."""
        cohort = [message.metadata.dst_node_id for message in messages]
        read: dict[int, dict[str, Tensor]] = {}
        for message in messages:
            if id(message.content) not in read and carrier.compressible(message.content):
                read[id(message.content)] = carrier.to_tensors(message.content)
        shares = self._nodes.importances(cohort)
        return [self._pack(message, read.get(id(message.content), {}), cohort, shares, told) for message in messages]

    def _pack(
        self,
        message: Message,
        tensors: dict[str, Tensor],
        cohort: Sequence[int],
        shares: Mapping[int, float],
        told: Instructions,
    ) -> Sent:
        node_id = message.metadata.dst_node_id
        node = self._nodes[node_id]
        if not tensors or node.plain:
            self._record_dense(node_id, tensors, told.round)
            return Sent(message, tensors, node.held, told.round, packed=False)
        publisher, encode_s = self._publish(tensors, cohort, told)
        path = publisher.path(node.held)
        personal = replace(
            told,
            accepted=node.accepted,
            volume_quantile=self._nodes.volume_quantile(node_id, cohort),
            importance=shares.get(node_id, -1.0),
            elapsed_s=node.elapsed_s,
            missed=node.missed,
            missed_s=node.missed_s,
            losses=self._nodes.losses_since(node.accepted),
        )
        data = publisher.package(path, personal)
        self._record(node_id, path, len(data), publisher, encode_s, told.round)
        after = publisher.after(path, node.held)
        node.held = _certain(node.held, after)
        exact = {name: x.to(publisher.schema[name].dtype) for name, x in tensors.items()}
        return Sent(_with_package(message, data), exact, after, told.round, packed=True)

    def _publish(
        self, tensors: dict[str, Tensor], cohort: Sequence[int], told: Instructions
    ) -> tuple[Publisher, float]:
        """Make the tensors the current model of their schema; the dtypes of the first model stay."""
        key = repr([(name, tuple(x.shape)) for name, x in tensors.items()])
        if key not in self._publishers:
            self._publishers[key] = Publisher(tensors, self._compressor, self._keyframe_every)
        publisher, started = self._publishers[key], time.perf_counter()
        held = [self._nodes[node_id].held for node_id in cohort]
        fresh = publisher.publish(tensors, self._signals(told), held)
        return publisher, time.perf_counter() - started if fresh else 0.0

    def _signals(self, told: Instructions) -> Signals:
        losses = self._nodes.losses
        return Signals(told.round, told.rounds or None, loss=losses[-1] if losses else None)

    def _record(self, node_id: int, path: Path, size: int, publisher: Publisher, encode_s: float, round_: int) -> None:
        dense = sum(spec.nbytes for spec in publisher.schema.values())
        if path.kind != "delta":
            self._ledger.append(Transfer(round_, node_id, "down", path.kind, size, dense, encode_s=encode_s))
            return
        sizes = {carrier.short(name): t.payload_bytes for name, t in publisher.report.tensors.items()}
        nmse = publisher.report.nmse
        self._ledger.append(Transfer(round_, node_id, "down", path.kind, size, dense, nmse, encode_s, tensors=sizes))

    def _record_dense(self, node_id: int, tensors: dict[str, Tensor], round_: int) -> None:
        if tensors:
            size = dense_bytes(tensors)
            self._ledger.append(Transfer(round_, node_id, "down", "dense", size, size))


def _certain(before: Held, after: Held) -> Held:
    """Return what a node holds whether or not the package arrives: all that is known until its reply comes."""
    return Held(
        before.current if before.current == after.current else None,
        before.keyframe if before.keyframe == after.keyframe else None,
    )


def _with_package(message: Message, data: bytes) -> Message:
    """Return a new message to the same address whose arrays are a package: the strategy's own is never changed."""
    first = next(iter(message.content.array_records))
    content: RecordDict = carrier.replace_arrays(message.content, {first: carrier.carry(data, carrier.DOWN)})
    about = message.metadata
    return Message(
        content, dst_node_id=about.dst_node_id, message_type=about.message_type, ttl=about.ttl, group_id=about.group_id
    )
