"""A threshold that is exact now and then, and used again in between."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thinwire.codec import Codec, State
from thinwire.codecs.sparse.pairs import Sparsifier, check_density, kept_count
from thinwire.kernels import select
from thinwire.registry import child

_NUDGE, _NUDGES = 1.03, 5


@dataclass(frozen=True)
class ReusedThreshold(Sparsifier, id="reused"):
    """Keep what reaches the threshold of an earlier step: Ok-Topk's rule (Li and Hoefler 2022, arXiv:2201.07598).

    Every ``refresh`` calls the ``k = max(1, int(density * n))`` largest are kept exactly and the k-th magnitude is
    remembered. In between, where more than ``(1 + tolerance) * k`` reach it (4k/3, as published), it grows by 3 %, at
    most five times. Unless the number kept is then within ``tolerance`` of k, the threshold is found anew at once: the
    gradients have changed. A history that makes no sense counts as none.
    """

    density: float
    refresh: int = 32
    tolerance: float = 1 / 3
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def __post_init__(self) -> None:
        check_density("ReusedThreshold", self.density)
        if not isinstance(self.refresh, int) or not 1 <= self.refresh < 1 << 31:
            raise ValueError(f"ReusedThreshold: refresh is {self.refresh!r}, expected a number of calls from 1")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"ReusedThreshold: tolerance is {self.tolerance!r}, expected 0 <= tolerance < 1")

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Try the remembered threshold, else find it. History: ``threshold``; ``step``, the calls since."""
        k = kept_count(self.density, flat.numel())
        step, threshold = int(_number(history, "step")) + 1, _number(history, "threshold")
        if 0 < step < self.refresh and 0 < threshold < math.inf:
            threshold, found = self._nudged(flat, threshold, k)
            if (1 - self.tolerance) * k <= found <= (1 + self.tolerance) * k:
                return select.at_least(flat, threshold), _remember(threshold, step)
        indices = select.largest(flat, k)
        return indices, _remember(float(flat[indices].double().abs().min()), 0) if k else {}

    def _nudged(self, flat: Tensor, threshold: float, k: int) -> tuple[float, int]:
        """Return the threshold, raised while too many reach it, and how many do."""
        found = select.count_at_least(flat, threshold)
        for _ in range(_NUDGES):
            if found <= (1 + self.tolerance) * k:
                break
            threshold *= _NUDGE
            found = select.count_at_least(flat, threshold)
        return threshold, found


def _number(history: State, key: str) -> float:
    """Return what was remembered, or -1 where that is not one finite number."""
    value = history.get(key)
    number = float(value) if value is not None and value.numel() == 1 else -1.0
    return number if math.isfinite(number) else -1.0


def _remember(threshold: float, step: int) -> State:
    return {"threshold": torch.tensor(threshold, dtype=torch.float64), "step": torch.tensor(step)}
