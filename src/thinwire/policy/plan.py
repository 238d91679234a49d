"""What a policy may know, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from thinwire.codec import Codec, Spec

Plan = dict[str, Codec]


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


class Policy(Protocol):
    """One codec for every tensor of a message."""

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return name -> codec for exactly the names of ``specs``."""
        ...


def plan_by_size(specs: Mapping[str, Spec], large: Codec, small: Codec, below: int) -> Plan:
    """Return ``small`` for 1-D tensors and those of fewer than ``below`` elements, ``large`` for the others.

    Norms and biases are about 0.3 % of the bytes and most of the harm.
    """
    return {name: small if len(spec.shape) < 2 or spec.numel < below else large for name, spec in specs.items()}
