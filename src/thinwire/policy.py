"""Policies: what adapts. A policy maps specs and signals to one codec a tensor, and looks at nothing else.

Codecs reach a policy as fields, and a policy varies them with ``dataclasses.replace``: it imports none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from thinwire.codec import Codec, Spec
from thinwire.registry import child, register

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


@register
@dataclass(frozen=True)
class Fixed:
    """The same codec, whatever the signals. Small tensors get ``small``."""

    codec: Codec
    small: Codec = child("Raw()")
    below: int = 1024

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        return plan_by_size(specs, self.codec, self.small, self.below)


@register
@dataclass(frozen=True)
class ErrorBound:
    """Per tensor, the fewest bytes whose error stays within a threshold; verified on what the peer decodes.

    ``codec`` is a template with a field ``nmse``: ``Step()``, ``Uniform()``, ``LowRank()``, ``Smallest()`` of several.
    """

    nmse: float = 0.01
    codec: Codec = child("Step()")
    small: Codec = child("Raw()")
    below: int = 1024

    def __post_init__(self) -> None:
        _bounded(self.codec, self.nmse)

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        return plan_by_size(specs, _bounded(self.codec, self.nmse), self.small, self.below)


@register
@dataclass(frozen=True)
class ByVolume:
    """A client's level of compression follows the amount of its data and tightens over the rounds.

    With the round's clients sorted by data size, those up to the quantile ``0.6 - 0.6 (e - 1) / E`` take ``coarse``,
    up to ``0.8 - 0.6 (e - 1) / E`` ``middle``, the others ``fine``; e is the round and E the number of rounds. The
    first ``fine_rounds`` rounds, and clients whose quantile is not known yet, take ``fine``.
    """

    coarse: Codec = child("Uniform(bits=8)")
    middle: Codec = child("Uniform(bits=12)")
    fine: Codec = child("Uniform(bits=16)")
    fine_rounds: int = 1
    small: Codec = child("Raw()")
    below: int = 1024

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        return plan_by_size(specs, self.level(signals), self.small, self.below)

    def level(self, signals: Signals) -> Codec:
        """Return the codec of this client in this round."""
        if signals.volume_quantile is None or signals.round <= self.fine_rounds:
            return self.fine
        done = 0.6 * (signals.round - 1) / (signals.rounds or signals.round)
        # Both sides are sums of fractions: a client exactly on an edge must not fall off it by a rounding error.
        quantile = signals.volume_quantile - 1e-6
        if quantile <= 0.6 - done:
            return self.coarse
        return self.middle if quantile <= 0.8 - done else self.fine


def _bounded(codec: Any, nmse: float) -> Codec:
    """Return the template with its error bound set. Raises ValueError where the codec has none."""
    if not hasattr(codec, "nmse"):
        raise ValueError(f"ErrorBound: {codec!r} has no error bound; use Step(), Uniform() or LowRank()")
    unset = {name: None for name in _OTHER_GOALS if getattr(codec, name, None) is not None}
    return replace(codec, nmse=nmse, **unset)  # type: ignore[no-any-return]


_OTHER_GOALS = ("bits", "rank", "ratio", "absolute", "relative", "step")
