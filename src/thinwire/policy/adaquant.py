"""Levels that grow as the training loss falls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from thinwire.codec import Codec, Spec, State
from thinwire.policy.plan import Plan, Signals, plan_by_size
from thinwire.policy.resolution import check_resolution, finer
from thinwire.registry import child, register


@register
@dataclass(frozen=True)
class AdaQuantFL:
    """``ceil(s0 * sqrt(f0 / f))`` levels: f is the newest training loss, f0 the first one, s0 the template's levels.

    AdaQuantFL (Jhunjhunwala et al. 2021, arXiv:2102.04487). At most ``most`` times s0, also where the loss reaches 0;
    at least one level. A round without a loss goes by the one before. ``codec`` is any with levels, bits or an nmse.
    """

    codec: Codec = child("Qsgd(levels=2)")
    most: int = 256
    small: Codec = child("Raw()")
    below: int = 1024

    def __post_init__(self) -> None:
        check_resolution("AdaQuantFL", self.codec)
        if not isinstance(self.most, int) or self.most < 1:
            raise ValueError(f"AdaQuantFL: most is {self.most!r}, expected an integer from 1")

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        return plan_by_size(specs, self.level(signals), self.small, self.below)

    def level(self, signals: Signals) -> Codec:
        """Return the codec of this round."""
        kept = self.keep(signals)
        return finer(self.codec, self._factor(*kept["losses"].tolist()), math.ceil) if kept else self.codec

    def keep(self, signals: Signals) -> State:
        """Return the first loss and the newest one."""
        if signals.loss is None or not math.isfinite(signals.loss):
            return dict(signals.kept)
        first = float(signals.kept["losses"][0]) if "losses" in signals.kept else signals.loss
        return {"losses": torch.tensor([first, signals.loss], dtype=torch.float64)}

    def _factor(self, first: float, newest: float) -> float:
        """Return the factor on the levels; 1 where the first loss was not positive: then nothing can be said."""
        if first <= 0:
            return 1.0
        # Compared as a product: a quotient of a loss near 0 would overflow.
        return math.sqrt(first / newest) if newest * self.most**2 > first else float(self.most)
