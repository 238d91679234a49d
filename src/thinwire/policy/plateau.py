"""Coarse at first, and twice as fine whenever the training loss stops falling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from thinwire.codec import Codec, Spec, State
from thinwire.policy.plan import Plan, Signals, plan_by_size
from thinwire.policy.resolution import check_resolution, finer
from thinwire.registry import child, register

_USUAL_PATIENCE = 10


@register
@dataclass(frozen=True)
class Plateau:
    """``codec`` as it is, and twice as many levels whenever the running loss is not below that of ``patience`` ago.

    The time-adaptive rule of DAdaQuant (Hoenig, Zhao, Mullins 2022, arXiv:2111.00465): its q_min are the template's
    levels, q_max that times ``most``, psi is ``smoothing``: ``running = psi * running + (1 - psi) * loss``, and phi is
    ``patience`` in rounds, by default a tenth of the run's rounds. After a doubling it waits for as many rounds again.
    Rounds without a loss do not count. ``codec`` is any with levels, bits or an nmse.
    """

    codec: Codec = child("Qsgd(levels=1)")
    most: int = 256
    patience: int | None = None
    smoothing: float = 0.9
    small: Codec = child("Raw()")
    below: int = 1024

    def __post_init__(self) -> None:
        check_resolution("Plateau", self.codec)
        if not isinstance(self.most, int) or self.most < 1:
            raise ValueError(f"Plateau: most is {self.most!r}, expected an integer from 1")
        if self.patience is not None and (not isinstance(self.patience, int) or self.patience < 1):
            raise ValueError(f"Plateau: patience is {self.patience!r}, expected a number of rounds from 1, or None")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"Plateau: smoothing is {self.smoothing!r}, expected 0 to below 1")

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        return plan_by_size(specs, self.level(signals), self.small, self.below)

    def level(self, signals: Signals) -> Codec:
        """Return the codec of this round."""
        return finer(self.codec, _factor(self.keep(signals)))

    def keep(self, signals: Signals) -> State:
        """Return the running losses since the last doubling, and the factor that all doublings made."""
        if signals.loss is None or not math.isfinite(signals.loss):
            return dict(signals.kept)
        running, factor = self._with(signals.loss, signals.kept), _factor(signals.kept)
        patience = self.patience or max(1, (signals.rounds or 10 * _USUAL_PATIENCE) // 10)
        if len(running) > patience and running[-1] >= running[-1 - patience] and factor < self.most:
            running, factor = running[-1:], min(2 * factor, self.most)
        return {
            "running": torch.tensor(running[-1 - patience :], dtype=torch.float64),
            "factor": torch.tensor([factor]),
        }

    def _with(self, loss: float, kept: State) -> list[float]:
        running: list[float] = kept["running"].tolist() if "running" in kept else []
        last = running[-1] if running else loss
        return [*running, self.smoothing * last + (1 - self.smoothing) * loss]


def _factor(kept: State) -> int:
    return int(kept["factor"]) if "factor" in kept else 1
