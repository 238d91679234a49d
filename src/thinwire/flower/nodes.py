"""What the server knows of its nodes, and of the messages whose replies it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flwr.app import Message
from torch import Tensor

from thinwire.flower.references import Held


@dataclass
class Node:
    """One client, as far as the server is certain."""

    held: Held = field(default_factory=Held)
    accepted: int = -1
    """The last round whose reply was accepted; -1: none."""
    samples: int | None = None
    plain: bool = False
    """It runs without thinwire."""
    proven: bool = False
    """It answered a compressed model: it runs thinwire."""
    strikes: int = 0
    """Failures in a row on compressed models, before it was proven."""


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

    def __getitem__(self, node_id: int) -> Node:
        return self.by_id.setdefault(node_id, Node())

    def volume_quantile(self, node_id: int, cohort: Sequence[int]) -> float:
        """Return the fraction of the cohort's known clients with at most as many samples; -1 where it is not known."""
        own = self[node_id].samples
        if own is None:
            return -1.0
        known = [samples for other in cohort if (samples := self[other].samples) is not None]
        return sum(samples <= own for samples in known) / len(known) if known else -1.0


def dense_bytes(tensors: dict[str, Tensor]) -> int:
    """Return the bytes of the tensors as they are."""
    return sum(x.numel() * x.itemsize for x in tensors.values())


def samples_of(reply: Message) -> int | None:
    """Return ``num-examples`` of a reply's metrics, where it has any."""
    for record in reply.content.metric_records.values():
        if isinstance(count := record.get("num-examples"), int | float):
            return int(count)
    return None
