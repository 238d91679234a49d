"""What a policy may know, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from thinwire.codec import Codec, Spec, State

Plan = dict[str, Codec]


@dataclass(frozen=True)
class Point:
    """What one codec makes of one tensor: a point of its rate-distortion curve."""

    codec: Codec
    payload_bytes: float
    """What the tensor adds to a frame: its payload, and the few bytes of its record."""
    distortion: float
    """Sum of squared errors."""


Curve = tuple[Point, ...]


@dataclass(frozen=True)
class Trial:
    """What a plan really cost: a point for every tensor, of which nothing is sent yet."""

    plan: Plan
    points: Mapping[str, Point]
    specs: Mapping[str, Spec] = field(default_factory=dict)
    head_bytes: float = 0.0
    """What the frame takes beside what its tensors add to it."""

    @property
    def payload_bytes(self) -> float:
        """Bytes of all tensors."""
        return sum(point.payload_bytes for point in self.points.values())

    @property
    def frame_bytes(self) -> float:
        """Bytes of the frame."""
        return self.payload_bytes + self.head_bytes

    @property
    def distortion(self) -> float:
        """Sum of squared errors of all tensors."""
        return sum(point.distortion for point in self.points.values())


@dataclass(frozen=True)
class Turn:
    """What one earlier round of this client cost on this link, as measured. Seconds are wall-clock time."""

    sent_bytes: int
    send_s: float
    """From the first byte that left until the peer had all of them, latency included."""
    received_bytes: int = 0
    receive_s: float = 0.0
    compute_s: float = 0.0
    """Training."""
    codec_s: float = 0.0
    """Encoding and decoding at this end."""


@dataclass(frozen=True)
class Signals:
    """All that a policy may know beside the specs. None: not known."""

    round: int = 1
    """Counted from 1."""
    rounds: int | None = None
    """How many rounds the run will have."""
    samples: int | None = None
    """Training samples of this client."""
    volume_quantile: float | None = None
    """Fraction (0 to 1] of this round's clients that have at most as many samples as this one."""
    bandwidth_bps: float | None = None
    """Measured or stated bandwidth of the link, bits per second."""
    loss: float | None = None
    """Newest training loss of the global model, averaged over clients."""
    importance: float | None = None
    """This client's share of the round's data against the others': 1 where all have the same."""
    latency_s: float | None = None
    """Measured or stated time of one way over the link for the shortest message."""
    turns: tuple[Turn, ...] = ()
    """Earlier rounds of this client on this link, the newest last."""
    reserved_bytes: int = 0
    """Bytes of this message that are spent already, on tensors that travel losslessly whatever the policy wants."""
    energies: Mapping[str, float] = field(default_factory=dict)
    """Sum of squares of every float tensor that is to be sent, error feedback included."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """Rate and distortion of what the policy named as its options, measured on this message."""
    trials: tuple[Trial, ...] = ()
    """What the plans for this message cost, for ``keep``: the last one was sent."""
    kept: State = field(default_factory=dict)
    """What the policy kept of earlier rounds."""


class Policy(Protocol):
    """One codec for every tensor of a message.

    A policy may have more: ``options(specs, signals) -> {name: codecs}`` names the codecs whose curves it wants;
    it is asked again with what was measured in ``signals.curves`` until it wants no more, and returns None where it has
    no goal for the whole message;
    ``revise(trials, specs, signals) -> Plan | None`` looks at what its plans really cost, the newest last, before
    anything is sent, and returns a better one, or None where it is content with the newest; ``keep(signals) -> State``
    says what it wants to remember: it finds that in ``signals.kept`` the next time.
    """

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return name -> codec for exactly the names of ``specs``."""
        ...


def plan_by_size(specs: Mapping[str, Spec], large: Codec, small: Codec, below: int) -> Plan:
    """Return ``small`` for vectors and for tensors of fewer than ``below`` elements, ``large`` for the others.

    Norms, biases, scales, masks and statistics are about 0.3 % of the bytes and most of the harm. Their elements may
    differ by any factor, so that no bound on the error of the whole says anything of the smaller ones.
    """
    return {name: large if is_large(spec, below) else small for name, spec in specs.items()}


def is_large(spec: Spec, below: int) -> bool:
    """Return whether a tensor is a matrix (or more) of at least ``below`` elements.

    A vector is one in whatever shape it comes, such as (1, n) or (n, 1, 1). But (n, 1) is a table of one column, such
    as the weights of sparse features: each row is an entry of its own, as in any other table.
    """
    sides = sum(side > 1 for side in spec.shape)
    return spec.numel >= below and (sides >= 2 or (len(spec.shape) == 2 and spec.shape[1] == 1))
