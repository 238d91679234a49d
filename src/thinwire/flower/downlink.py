"""Models on their way out: the arrays of a message become one package, or stay as they are, counted either way."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flwr.app import Array, Message, RecordDict

from thinwire.flower import beside, records
from thinwire.flower.diagnosis import Diagnosis, Retry
from thinwire.flower.ledger import Transfer, codecs_of, opaque
from thinwire.flower.names import in_frames, short
from thinwire.flower.nodes import Node, Nodes, Sent
from thinwire.flower.protocol import ALL_EXACT, NOTHING, UNTYPED, Instructions, Package
from thinwire.flower.records import Arrays
from thinwire.flower.references import Model, Path, References
from thinwire.flower.rounds import Rounds
from thinwire.policy import Signals
from thinwire.zoo import compressor

_WEIGHTS_LONGER = 3
"""A client trains on the weights that it is sent first for the whole run: their bound is that of one so much longer."""

Retrying = tuple[Sent, Diagnosis, Message]
"""What was sent, why it is sent again, and the client's error."""


class Downlink:
    """Packs messages: for each node a package from what it holds to the model of its message.

    ``told`` is what all clients are told alike; ``reference_bytes`` bounds what is kept of models that clients hold.
    """

    def __init__(
        self,
        nodes: Nodes,
        rounds: Rounds,
        ledger: list[Transfer],
        told: Instructions,
        downlink: object,
        reference_bytes: int,
    ) -> None:
        self._nodes, self._rounds, self._ledger, self._told, self._spec = nodes, rounds, ledger, told, downlink
        self._references = References(compressor(downlink, "down"), told.exact, reference_bytes)
        self.session = secrets.randbits(32)

    def expect(self, messages: float) -> None:
        """Take note of how many messages a client is likely to train on in all."""
        self._told = replace(self._told, messages=messages)
        differences, weights = (compressor(self._spec, "down", n) for n in (messages, _WEIGHTS_LONGER * messages))
        self._references.use(differences, weights)

    def pack(self, messages: Sequence[Message], cohort: Sequence[int]) -> list[Sent]:
        """Return the messages as they should be sent. Strategies share one content among many: it is read once.

        ``cohort`` are the nodes of this round. Messages without arrays, and those to nodes without thinwire, stay as
        they are.
        """
        shares = self._nodes.importances(cohort)
        contents: dict[int, tuple[Arrays, Model]] = {}
        packed = []
        for message in messages:
            if id(message.content) not in contents:
                arrays = records.read(message.content)
                named = {in_frames(name): x for name, x in arrays.tensors.items()}
                contents[id(message.content)] = arrays, Model.of(named)
            arrays, model = contents[id(message.content)]
            node = self._nodes[int(message.metadata.dst_node_id)]
            if arrays.order and not node.plain:
                packed.append(self._packed(message, arrays, model, node, self._personal(message, node, cohort, shares)))
            else:
                packed.append(self._dense(message, arrays, model))
            sent = packed[-1]
            self._ledger += opaque(message.content, sent.round, sent.node_id, "down", sent.kind)
        self.forget_unheld()
        return packed

    def pack_again(self, retries: Sequence[Retrying]) -> list[Sent]:
        """Return messages anew whose clients could not make use of them, as the diagnoses say."""
        again = []
        for before, diagnosis, _ in retries:
            message, node = before.original, self._nodes[before.node_id]
            if diagnosis.retry is Retry.WHOLE:
                told = self._personal(message, node, [before.node_id], {})
                sent = self._packed(message, before.arrays, before.model, node, told)
            else:
                sent = self._dense(message, before.arrays, before.model)
                sent.message = _like(message, message.content)
            sent.known_as, sent.attempt, sent.diagnosis = before.known_as, before.attempt + 1, diagnosis
            again.append(sent)
        self.forget_unheld()
        return again

    def forget_unheld(self) -> None:
        """Drop the references that no node holds any more, and those that are over the limit."""
        self._nodes.drop(self._references.drop_all_but(self._nodes.live()))

    def _packed(self, message: Message, arrays: Arrays, model: Model, node: Node, told: Instructions) -> Sent:
        losses = self._nodes.losses
        signals = Signals(told.round, told.rounds or None, loss=losses[-1] if losses else None)
        path = self._references.path(model, tuple(node.held), signals, self._nodes.losses_since(-1))
        node.sequence += 1
        base = path.base.id if path.base else b""
        near = b"" if base else self._references.near(model, [sent.target for sent in node.in_flight.values()])
        lineage = node.lineage_of(base if path.frame else path.to.id, near)
        sent = Sent(message, message, model, told.round, True, arrays, node.sequence, path.to.id, base, lineage)
        sent.told = told.fates
        node.send(sent)
        data = self._package(sent, path, node.keep(), told).dumps()
        others = beside.pack(arrays.others)
        sent.message = _like(message, records.with_data(message.content, data, records.DOWN, others))
        self._record(sent, path, len(data), others)
        return sent

    def _package(self, sent: Sent, path: Path, keep: tuple[bytes, ...], told: Instructions) -> Package:
        places = {name: at for at, name in enumerate(sent.arrays.order)}
        others = tuple((places[name], name) for name in sent.arrays.others)
        all_exact = len(path.to.exact) == len(sent.arrays.tensors)
        exact = frozenset[int]() if all_exact else path.to.exact
        flags = UNTYPED * sent.arrays.untyped | ALL_EXACT * all_exact
        base = sent.base or NOTHING
        head = (self.session, sent.sequence, sent.lineage, path.to.hash, told, base, path.frame)
        return Package(*head, keep, path.verbatim, path.alone, exact, others, flags)

    def _personal(
        self, message: Message, node: Node, cohort: Sequence[int], shares: Mapping[int, float]
    ) -> Instructions:
        """Return what one client is told."""
        node_id = int(message.metadata.dst_node_id)
        return replace(
            self._told,
            round=max(1, self._rounds.number),
            volume_quantile=self._nodes.volume_quantile(node_id, cohort),
            importance=shares.get(node_id, -1.0),
            fates=tuple(node.fates.values()),
            losses=self._nodes.losses_since(node.accepted),
        )

    def _dense(self, message: Message, arrays: Arrays, model: Model) -> Sent:
        round_ = max(1, self._rounds.number)
        sent = Sent(message, message, model, round_, False, arrays)
        if arrays.order:
            size = arrays.dense_bytes
            self._ledger.append(Transfer(round_, sent.node_id, "down", "dense", size, size, message=sent.kind))
        return sent

    def _record(self, sent: Sent, path: Path, size: int, others: Mapping[str, Array]) -> None:
        sizes = {short(name): t.payload_bytes for name, t in path.report.tensors.items()}
        self._ledger.append(
            Transfer(
                sent.round,
                sent.node_id,
                "down",
                path.kind,
                size + beside.travelling_bytes(others),
                sent.arrays.dense_bytes,
                path.report.nmse if path.frame else None,
                path.encode_s,
                tensors=sizes,
                message=sent.kind,
                record=sent.record,
                codecs=codecs_of(path.report),
                not_compressed=beside.as_they_are_bytes(others),
            )
        )


def _like(message: Message, content: RecordDict) -> Message:
    """Return a new message to the same address: the strategy's own is never changed."""
    about = message.metadata
    return Message(
        content, dst_node_id=about.dst_node_id, message_type=about.message_type, ttl=about.ttl, group_id=about.group_id
    )
