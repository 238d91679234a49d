"""What the server knows of its nodes, and of the messages whose replies it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flwr.app import Message
from torch import Tensor

from thinwire.flower.instructions import MOST_LOSSES
from thinwire.flower.losses import average
from thinwire.flower.references import Held
from thinwire.policy.importance import importances

TRAINS = "train"
"""The type of messages that begin a round."""


@dataclass
class Node:
    """One client, as far as the server is certain."""

    held: Held = field(default_factory=Held)
    accepted: int = -1
    """The last round whose reply was accepted; -1: none."""
    elapsed_s: float = -1.0
    """How long that round took, from sending the message until the reply was there; -1: not known."""
    missed: int = -1
    """The newest round whose reply was not taken, if none was since; -1: none."""
    missed_s: float = -1.0
    """How long that reply was waited for; -1: not known."""
    samples: int | None = None
    plain: bool = False
    """It runs without thinwire."""
    proven: bool = False
    """It answered a compressed model: it runs thinwire."""
    strikes: int = 0
    """Failures in a row on compressed models, before it was proven."""

    def accept(self, round_: int, elapsed_s: float) -> None:
        """Note that the reply of a round was taken, so many seconds after its message was sent."""
        self.accepted, self.elapsed_s, self.missed, self.missed_s = round_, elapsed_s, -1, -1.0

    def miss(self, round_: int, waited_s: float) -> None:
        """Note that the reply of a round was not taken: the first of its messages, if several of them fail."""
        if round_ > max(self.accepted, self.missed):
            self.missed, self.missed_s = round_, waited_s

    def forget(self) -> None:
        """Note that the client lost its state."""
        self.held = Held()
        self.accept(-1, -1.0)


@dataclass(frozen=True)
class Sent:
    """What is needed to open the reply to a message."""

    message: Message
    tensors: dict[str, Tensor]
    """The server's own full-precision arrays, in the dtypes that clients hold: what an update is added to."""
    after: Held
    round: int
    packed: bool

    @property
    def node_id(self) -> int:
        """The node that the message went to."""
        return int(self.message.metadata.dst_node_id)


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


def dense_bytes(tensors: dict[str, Tensor]) -> int:
    """Return the bytes of the tensors as they are."""
    return sum(x.numel() * x.itemsize for x in tensors.values())
