"""HGG-TopK: history-guided selection by a histogram on a logarithmic scale, without the histogram."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from thinwire.codec import Codec, State
from thinwire.codecs.sparse.pairs import Sparsifier, check_density, kept_count
from thinwire.kernels import select
from thinwire.kernels.select.candidates import Candidates, candidates
from thinwire.registry import child

_MOST_BINS = 1 << 20


@dataclass(frozen=True)
class HggTopK(Sparsifier, id="hggtopk"):
    """Logarithmic bins up to the largest magnitude, entered where the last threshold was: HGG-TopK, done right.

    Edge j of the bins is ``largest * ((1 + gamma)**(j / bins) - 1) / gamma``. The bin of the k-th magnitude, ``k =
    max(1, int(density * n))``, is found by a full search at first and by galloping from the last threshold's bin later.
    In it the threshold is interpolated by the share ``beta``. What reaches the threshold is sent, of too many the k
    largest: never more than k elements, never fewer than ``k * (1 - tolerance)``, always the largest. The history
    makes that faster and never different.
    """

    density: float
    bins: int = 1024
    gamma: float = 1000.0
    tolerance: float = 0.01
    beta: float = 0.98
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def __post_init__(self) -> None:
        check_density("HggTopK", self.density)
        if not isinstance(self.bins, int) or not 1 <= self.bins <= _MOST_BINS:
            raise ValueError(f"HggTopK: bins is {self.bins!r}, expected 1 to {_MOST_BINS}")
        if not 0 < self.gamma < math.inf:
            raise ValueError(f"HggTopK: gamma is {self.gamma!r}, expected a positive number")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"HggTopK: tolerance is {self.tolerance!r}, expected 0 <= tolerance < 1")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"HggTopK: beta is {self.beta!r}, expected 0 to 1")

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Search the bins among the candidates. History: ``threshold`` (0-d float64)."""
        return self._select(flat, None, history)

    def accumulate(self, residual: Tensor, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Add, and collect the candidates, in one sweep."""
        return self._select(residual, flat, history)

    def _select(self, flat: Tensor, added: Tensor | None, history: State) -> tuple[Tensor, State]:
        k, last = kept_count(self.density, flat.numel()), _last_threshold(history)
        found = candidates(flat, k, added)
        if k == 0 or (largest := float(found.magnitudes.max())) == 0:
            return found.places, {}
        edge = partial(_edge, largest=largest, bins=self.bins, gamma=self.gamma)
        j, threshold = self._search(flat, found, k, edge, None if last is None else self._bin(last, largest))
        count = found.count_at_least(threshold)
        if k - int(self.tolerance * k) <= count <= k:
            chosen = found.take_at_least(threshold, count)
        else:
            chosen = found.take_largest(k, edge(j), edge(j + 1))
        return chosen, {"threshold": torch.tensor(threshold, dtype=torch.float64)}

    def _search(
        self, flat: Tensor, found: Candidates, k: int, edge: Callable[[int], float], start: int | None
    ) -> tuple[int, float]:
        """Return the bin of the k-th magnitude and a threshold inside it."""

        @cache
        def reaching(j: int) -> int:
            return found.count_at_least(edge(j)) if j < self.bins else 0

        j = _last_true(lambda j: reaching(j) >= k, self.bins, start)
        above, inside = reaching(j + 1), reaching(j) - reaching(j + 1)
        if reaching(j) == len(found.magnitudes):  # the bin may begin below the candidates
            inside = select.count_at_least(flat, edge(j)) - above
        return j, edge(j) + (edge(j + 1) - edge(j)) * (1 - (k - above) / inside) * self.beta

    def _bin(self, magnitude: float, largest: float) -> int:
        """Return the bin of a magnitude."""
        share = math.log1p(self.gamma * min(magnitude / largest, 1.0)) / math.log1p(self.gamma)
        return min(int(self.bins * share), self.bins - 1)


def _edge(j: int, largest: float, bins: int, gamma: float) -> float:
    """Return the magnitude at which bin j begins."""
    return largest * (math.expm1(math.log1p(gamma) * (j / bins)) / gamma)


def _last_true(holds: Callable[[int], bool], end: int, start: int | None) -> int:
    """Return the last number below ``end`` for which ``holds``, which is true of 0 and once false stays so.

    Searched from ``start`` by steps that double, if given; then by halving.
    """
    low, high = 0, end
    if start is not None:
        low, high = _galloped(holds, end, start)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _galloped(holds: Callable[[int], bool], end: int, start: int) -> tuple[int, int]:
    """Return a number for which ``holds`` and one, or ``end``, for which it does not, near ``start``."""
    step = 1
    if holds(start):
        while start + step < end and holds(start + step):
            start, step = start + step, step * 2
        return start, min(start + step, end)
    while start - step > 0 and not holds(start - step):
        start, step = start - step, step * 2
    return max(start - step, 0), start


def _last_threshold(history: State) -> float | None:
    """Return what was remembered, or None where that is not one positive, finite number."""
    value = history.get("threshold")
    number = float(value) if value is not None and value.numel() == 1 and not value.is_complex() else 0.0
    return number if 0 < number < math.inf else None
