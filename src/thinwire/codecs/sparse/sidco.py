"""SIDCo: a threshold from the statistics of the magnitudes, refined among those that exceed it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import Codec, State
from thinwire.codecs.sparse.pairs import Sparsifier, check_density, kept_count
from thinwire.codecs.sparse.pool import Pool
from thinwire.errors import unknown
from thinwire.kernels import select
from thinwire.kernels.select import moments
from thinwire.registry import child

_LEAST_SHARE = 0.25
"""Of its elements, what a stage aims at: further out, a fit to all of them says little about the tail."""


@dataclass(frozen=True)
class SIDCo(Sparsifier, id="sidco"):
    """Keep what exceeds a threshold fitted to the magnitudes (Abdelmoniem et al. 2021, arXiv:2101.10761).

    ``model`` is ``exponential``, ``gamma`` (then generalised Pareto for the exceedances, as published) or ``pareto``,
    all fitted by moments. Each of at most ``stages`` stages aims at a quarter of its elements, or at all that are
    needed, and the next one fits the model again to what exceeds its threshold. The number kept is within ``tolerance``
    of k, ``max(1, int(density * n))``: where the model misses that, exactly the k largest are kept.
    """

    density: float
    model: Literal["exponential", "gamma", "pareto"] = "exponential"
    stages: int = 8
    tolerance: float = 0.2
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def __post_init__(self) -> None:
        check_density("SIDCo", self.density)
        if self.model not in _FITS:
            raise ValueError("SIDCo: " + unknown("model", str(self.model), _FITS))
        if not isinstance(self.stages, int) or not 1 <= self.stages <= 64:
            raise ValueError(f"SIDCo: stages is {self.stages!r}, expected 1 to 64")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"SIDCo: tolerance is {self.tolerance!r}, expected 0 <= tolerance < 1")

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Raise the threshold stage by stage; the pool is what exceeds the last one."""
        k = kept_count(self.density, flat.numel())
        if k == flat.numel():
            return torch.arange(k, device=flat.device), {}
        least, most = (1 - self.tolerance) * k, (1 + self.tolerance) * k
        pool, threshold = Pool(flat), 0.0
        for stage in range(self.stages):
            raised = self._raised(pool.values, threshold, k, stage)
            inside = select.at_least(pool.values, raised)
            if inside.numel() < least:
                break
            if inside.numel() <= most:
                return pool.at(inside), {}
            pool, threshold = pool.keep(inside), raised
        return pool.at(select.largest(pool.values, k)), {}

    def _raised(self, x: Tensor, threshold: float, k: int, stage: int) -> float:
        """Return the next threshold; infinity, which nothing reaches, where the model gives none."""
        fit = _FITS[self.model] if stage == 0 else _TAILS[self.model]
        raised = threshold + fit(x, threshold, max(k / x.numel(), _LEAST_SHARE))
        return raised if raised > threshold else math.inf


def _exponential(x: Tensor, low: float, share: float) -> float:
    """Return the excess over ``low`` that ``share`` of the magnitudes exceed, from their mean excess."""
    return -(moments.mean_magnitude(x) - low) * math.log(share)


def _pareto(x: Tensor, low: float, share: float) -> float:
    """Return the same from mean and variance of the excess, by a generalised Pareto distribution."""
    mean = moments.mean_magnitude(x)
    variance, excess = moments.mean_square(x) - mean * mean, mean - low
    if not 0 < variance < math.inf:
        return -excess * math.log(share)
    ratio = excess * excess / variance
    shape, scale = (1 - ratio) / 2, excess * (1 + ratio) / 2
    return scale * (math.expm1(-shape * math.log(share)) / shape if shape else -math.log(share))


def _gamma(x: Tensor, low: float, share: float) -> float:
    """Return the same by a gamma distribution: closed-form estimates, and the tail's leading terms as published."""
    mean = moments.mean_magnitude(x)
    skew = math.log(mean) - moments.mean_log(x) if 0 < mean < math.inf else 0.0
    if skew <= 0:
        return -mean * math.log(share)
    shape = (3 - skew + math.sqrt((skew - 3) ** 2 + 24 * skew)) / (12 * skew)
    return -mean / shape * (math.log(share) + math.lgamma(shape))


_Fit = Callable[[Tensor, float, float], float]
_FITS: MappingProxyType[str, _Fit] = MappingProxyType({"exponential": _exponential, "gamma": _gamma, "pareto": _pareto})
_TAILS: MappingProxyType[str, _Fit] = MappingProxyType(
    {"exponential": _exponential, "gamma": _pareto, "pareto": _pareto}
)
