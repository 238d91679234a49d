"""MSTopK: the k-th magnitude is searched by counting how many exceed a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thinwire.codec import Codec, State, generator
from thinwire.codecs.sparse.pairs import Sparsifier, check_density, kept_count
from thinwire.codecs.sparse.pool import Pool
from thinwire.kernels import select
from thinwire.kernels.select import moments
from thinwire.registry import child

_WORTH_NARROWING = 8


@dataclass(frozen=True)
class MSTopK(Sparsifier, id="mstopk"):
    """Keep exactly ``max(1, int(density * n))`` elements, nearly the largest (Shi et al. 2021, arXiv:2010.10458).

    Bisection between mean and maximum magnitude, ``probes`` times at most, each a count of what reaches the middle. All
    that reach the upper end of the last bracket are sent; what is missing is a run, at a place drawn by the seed, of
    those inside it. Where more than 2k reach the lower end, as an outlier can have it, exactly the k largest are sent:
    nothing beyond the 2k largest ever is.
    """

    density: float
    probes: int = 30
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def __post_init__(self) -> None:
        check_density("MSTopK", self.density)
        if not isinstance(self.probes, int) or not 1 <= self.probes <= 64:
            raise ValueError(f"MSTopK: probes is {self.probes!r}, expected 1 to 64")

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Bisect, then fill up to k from the bracket."""
        k = kept_count(self.density, flat.numel())
        if k == flat.numel():
            return torch.arange(k, device=flat.device), {}
        pool, low, high = _bracketed(flat, k, self.probes)
        if select.count_at_least(pool.values, low) > 2 * k:
            return pool.at(select.largest(pool.values, k)), {}
        pool = pool.keep(select.at_least(pool.values, low))
        return pool.at(_filled(pool.values, k, high, seed)), {}


def _bracketed(flat: Tensor, k: int, probes: int) -> tuple[Pool, float, float]:
    """Return thresholds that at least k and fewer than k elements reach, and a pool of all that reach the lower one."""
    low, high = _mean_to_maximum(flat, k)
    pool = Pool(flat)
    for _ in range(probes if high < math.inf else 0):
        middle = (low + high) / 2
        found = select.count_at_least(pool.values, middle)
        low, high = (middle, high) if found >= k else (low, middle)
        if found == k:
            break
        if k < found < pool.values.numel() // _WORTH_NARROWING:
            pool = pool.keep(select.at_least(pool.values, low))
    return pool, low, high


def _mean_to_maximum(flat: Tensor, k: int) -> tuple[float, float]:
    """Return such thresholds: mean and maximum, or zero where fewer than k elements reach the mean."""
    mean, most = moments.mean_magnitude(flat), moments.largest_magnitude(flat)
    if select.count_at_least(flat, most) >= k:
        return most, math.inf
    return mean if select.count_at_least(flat, mean) >= k else 0.0, most


def _filled(x: Tensor, k: int, high: float, seed: int) -> Tensor:
    """Return k indices (ascending) of the at least k elements of ``x``: all from ``high`` up, and a run of others."""
    sure = select.at_least(x, high)
    others = torch.ones(x.numel(), dtype=torch.bool, device=x.device).index_fill_(0, sure, False)
    band, missing = others.nonzero().view(-1), k - sure.numel()
    start = int(torch.randint(band.numel() - missing + 1, (), generator=generator(seed)))
    return torch.cat([sure, band[start : start + missing]]).sort().values
