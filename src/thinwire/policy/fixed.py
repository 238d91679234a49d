"""The same codec in every round, or one that is reached in steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from thinwire.codec import Codec, Spec
from thinwire.policy.plan import Plan, Signals, plan_by_size
from thinwire.registry import child, register, text


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
class WarmUp:
    """Dense at first, then sparser and sparser: the densities of Deep Gradient Compression (Lin et al. 2018).

    The first ``every`` rounds (in the paper, an epoch) take the codec with the first of ``densities``, the next the
    second, and so on; then the codec as it is. Never less than its own density. arXiv:1712.01887.

    A codec without a density takes densities of 1: rounds in which all goes as ``small`` tensors do, dense, before its
    first. So torch starts its PowerSGD.
    """

    codec: Codec
    densities: tuple[float, ...] = (0.25, 0.0625, 0.015625, 0.004)
    every: int = 1
    small: Codec = child("Raw()")
    below: int = 1024

    def __post_init__(self) -> None:
        if not hasattr(self.codec, "density") and self.densities not in ((1,), ()):
            raise ValueError(
                f"WarmUp: {text(self.codec)} has no density; use TopK(0.001) or another sparsifier that has, or "
                "densities=(1.0,) to be dense at first"
            )
        if not isinstance(self.densities, tuple) or not all(_is_density(value) for value in self.densities):
            raise ValueError(
                f"WarmUp: densities is {self.densities!r}, expected a tuple of numbers above 0 and up to 1"
            )
        if not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"WarmUp: every is {self.every!r}, expected a number of rounds from 1")

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        return plan_by_size(specs, self.level(signals), self.small, self.below)

    def level(self, signals: Signals) -> Codec:
        """Return the codec of this round."""
        codec: Any = self.codec
        stage = (signals.round - 1) // self.every
        if not 0 <= stage < len(self.densities):
            return self.codec
        if not hasattr(codec, "density"):
            return self.small
        return replace(codec, density=max(self.densities[stage], codec.density))  # type: ignore[no-any-return]


def _is_density(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
