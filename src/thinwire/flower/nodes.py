"""What the server knows of its nodes, and of the messages whose replies it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flwr.app import Message

from thinwire.flower.diagnosis import Diagnosis
from thinwire.flower.losses import average
from thinwire.flower.names import records_of
from thinwire.flower.protocol import MOST_LOSSES, Fate, Outcome
from thinwire.flower.records import Arrays
from thinwire.flower.references import Model
from thinwire.policy.importance import importances

IN_FLIGHT = 8
"""Messages to one node whose replies are waited for; the oldest of more is given up."""
_FATES = 32
_LINEAGES = 4
"""Models that one node is sent in turns, each as a difference to what it holds of it; of more, the oldest goes."""


@dataclass(frozen=True)
class Held:
    """A reference that a node holds, for its reply said so."""

    id: bytes
    lineage: int
    sequence: int
    """The message that brought it, or the last one that named it."""


@dataclass
class Sent:
    """What is needed to open the reply to a message."""

    original: Message
    """As the strategy made it."""
    message: Message
    """As it was pushed."""
    model: Model
    round: int
    packed: bool
    arrays: Arrays
    sequence: int = 0
    target: bytes = b""
    """The id of what the node holds once it has read the message."""
    base: bytes = b""
    lineage: int = 0
    known_as: str = ""
    """The id by which the strategy knows the message: that of its first sending."""
    attempt: int = 1
    diagnosis: Diagnosis | None = None
    """Why it is sent again."""
    told: tuple[Fate, ...] = ()
    """What it says of earlier replies: known to its node once that answered."""

    @property
    def node_id(self) -> int:
        """The node that the message went to."""
        return int(self.message.metadata.dst_node_id)

    @property
    def kind(self) -> str:
        """The type of the message, such as ``train`` or ``query.embeddings``."""
        return str(self.message.metadata.message_type)

    @property
    def record(self) -> str:
        """The names of the records that hold the arrays."""
        return ", ".join(records_of(self.arrays.order))


@dataclass
class Node:
    """One client, as far as the server is certain."""

    held: dict[bytes, Held] = field(default_factory=dict)
    in_flight: dict[int, Sent] = field(default_factory=dict)
    """Messages with a package, by sequence."""
    fates: dict[int, Fate] = field(default_factory=dict)
    sequence: int = 0
    lineages: int = 0
    accepted: int = -1
    """The last round whose reply was accepted; -1: none."""
    samples: int | None = None
    plain: bool = False
    """It runs without thinwire, or another version."""
    proven: bool = False
    """It answered a compressed model: it runs thinwire."""
    stateless: bool = False
    """It keeps nothing between messages."""

    def send(self, sent: Sent) -> None:
        """Note that a package is on its way."""
        self.in_flight[sent.sequence] = sent
        self._tell(Fate(sent.sequence, Outcome.WAITING))

    def accept(self, sent: Sent, seconds: float) -> None:
        """Note that a reply was taken: the node holds what its message brought."""
        self.in_flight.pop(sent.sequence, None)
        self._tell(Fate(sent.sequence, Outcome.TAKEN, seconds))
        for fate in sent.told:
            if self.fates.get(fate.sequence) == fate and fate.outcome is not Outcome.WAITING:
                del self.fates[fate.sequence]
        self.accepted = max(self.accepted, sent.round)
        self.hold(sent)

    def hold(self, sent: Sent) -> None:
        """Note that the node has what a message brought, the newest of its lineage."""
        self.in_flight.pop(sent.sequence, None)
        if self.stateless:
            self.held = {}
            return
        newest = max((held.sequence for held in self.held.values() if held.lineage == sent.lineage), default=-1)
        if sent.sequence > newest:
            others = {id: held for id, held in self.held.items() if held.lineage != sent.lineage and id != sent.target}
            self.held = others | {sent.target: Held(sent.target, sent.lineage, sent.sequence)}
        while len(self.held) > _LINEAGES:
            del self.held[min(self.held.values(), key=lambda held: held.sequence).id]

    def miss(self, sent: Sent, seconds: float) -> None:
        """Note that a reply was not taken, after so many seconds: late, lost or refused."""
        if self.in_flight.pop(sent.sequence, None):
            self._tell(Fate(sent.sequence, Outcome.LOST, seconds))

    def forget(self) -> None:
        """Note that the client lost its state."""
        self.held, self.accepted = {}, -1

    def lineage_of(self, base: bytes, near: bytes) -> int:
        """Return the lineage of a model that is sent as a difference to ``base``; empty: whole.

        It goes on if the base is the newest of its own. A model that is sent whole goes on with that of a message in
        flight that brings one ``near`` to it, or where nothing else is known of what the node holds.
        """
        if (held := self.held.get(base)) is not None:
            newest = max(other.sequence for other in self.held.values() if other.lineage == held.lineage)
            if held.sequence == newest:
                return held.lineage
        elif not base:
            flying = [sent.lineage for sent in self.in_flight.values() if sent.target == near]
            if flying or (self.lineages and not self.held):
                return flying[-1] if flying else self.lineages
        self.lineages += 1
        return self.lineages

    def keep(self) -> tuple[bytes, ...]:
        """Return the ids that later messages may build on."""
        flying = {id for sent in self.in_flight.values() for id in (sent.base, sent.target)}
        return tuple(sorted({*self.held, *flying} - {b""}))

    def _tell(self, fate: Fate) -> None:
        self.fates[fate.sequence] = fate
        # What a node is told nothing of it takes for lost. One that was taken must be told until it has heard so: else
        # it would be sent a second time.
        for sequence in sorted(self.fates)[:-_FATES]:
            if self.fates[sequence].outcome is Outcome.LOST:
                del self.fates[sequence]


@dataclass
class Nodes:
    """All nodes by id; unknown ones start with nothing."""

    by_id: dict[int, Node] = field(default_factory=dict)
    losses: list[float | None] = field(default_factory=list)
    """The training loss of the global model that clients reported in round 1, in round 2, ..."""
    reports: list[tuple[int | None, float]] = field(default_factory=list)
    """(samples, loss) of the replies that came in since the last round began."""

    def __getitem__(self, node_id: int) -> Node:
        return self.by_id.setdefault(node_id, Node())

    def live(self) -> set[bytes]:
        """Return the ids of all references that some node holds or is being sent."""
        return {id for node in self.by_id.values() for id in node.keep()}

    def drop(self, ids: Sequence[bytes]) -> None:
        """Note that references are gone: who holds one is sent the whole model."""
        for node in self.by_id.values():
            for id in ids:
                node.held.pop(id, None)

    def volume_quantile(self, node_id: int, cohort: Sequence[int]) -> float:
        """Return the fraction of the cohort's known clients with at most as many samples; -1 where it is not known."""
        own = self[node_id].samples
        if own is None:
            return -1.0
        known = [samples for other in cohort if (samples := self[other].samples) is not None]
        return sum(samples <= own for samples in known) / len(known) if known else -1.0

    def importances(self, cohort: Sequence[int]) -> dict[int, float]:
        """Return each client's ``Signals.importance``, of those in the cohort whose samples are known."""
        known = {node_id: samples for node_id in cohort if (samples := self[node_id].samples) is not None}
        return dict(zip(known, importances(list(known.values())), strict=True))

    def end_round(self) -> None:
        """Make what was reported the loss of the round that ends."""
        self.losses.append(average(self.reports))
        self.reports = []

    def losses_since(self, accepted: int) -> tuple[float | None, ...]:
        """Return the losses that a client was not told, or forgot, whose reply of round ``accepted`` came last."""
        return tuple(self.losses[max(0, accepted - 1) :][-MOST_LOSSES:])
