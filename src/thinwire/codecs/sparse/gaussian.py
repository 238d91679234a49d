"""Gaussian-k: the threshold that a normal distribution would have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

from torch import Tensor

from thinwire.codec import Codec
from thinwire.codecs.sparse.guessed import Guessed
from thinwire.kernels import select
from thinwire.kernels.select import moments
from thinwire.registry import child


@dataclass(frozen=True)
class Gaussian(Guessed, id="gaussian"):
    """What exceeds a normal distribution's quantile (Shi et al. 2019, arXiv:1911.08772): 2k/3 to 4k/3 elements.

    The threshold starts at ``|mean| + deviation * quantile(1 - k / 2n)`` and is halved where too few reach it, or
    raised by half where too many do, at most ``adjustments`` times. Tails heavier or lighter than normal ones, which
    that does not mend, are selected exactly: k elements, ``max(1, int(density * n))``.
    """

    density: float
    adjustments: int = 3
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    least, most = Fraction(2, 3), Fraction(4, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.adjustments, int) or not 0 <= self.adjustments <= 64:
            raise ValueError(f"Gaussian: adjustments is {self.adjustments!r}, expected 0 to 64")

    def guess(self, flat: Tensor, k: int) -> tuple[float, int]:
        """Count from the normal distribution's threshold on."""
        threshold = _normal_threshold(flat, k)
        count = select.count_at_least(flat, threshold)
        for _ in range(self.adjustments):
            if self.fits(count, k):
                break
            threshold *= 0.5 if count < k else 1.5
            count = select.count_at_least(flat, threshold)
        return threshold, count


def _normal_threshold(flat: Tensor, k: int) -> float:
    """Return the threshold; 0 where a sum overflows, which everything reaches."""
    mean = moments.mean(flat)
    variance = moments.mean_square(flat) - mean * mean
    if not math.isfinite(variance):
        return 0.0
    return abs(mean) - math.sqrt(max(variance, 0.0)) * NormalDist().inv_cdf(k / (2 * flat.numel()))
