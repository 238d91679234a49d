"""RedSync: a threshold between the mean and the largest magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from thinwire.codec import Codec
from thinwire.codecs.sparse.guessed import Guessed
from thinwire.kernels import select
from thinwire.kernels.select import moments
from thinwire.registry import child

_CLOSE = 0.2
"""How near, as a share of the way from mean to largest, thresholds are tried: three probes, or five steps down."""


@dataclass(frozen=True)
class RedSync(Guessed, id="redsync"):
    """Bisect between mean and largest magnitude (Fang et al. 2018, arXiv:1808.04357): k to 2k elements.

    Three probes; where none counts k to 2k elements, exactly the k largest, ``max(1, int(density * n))``. With ``trim``
    the threshold comes down from the largest magnitude in fifths until k elements or more reach it, and of those
    exactly the k largest are sent: what ``TopK`` sends.
    """

    density: float
    trim: bool = False
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    most = Fraction(2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.trim, bool):
            raise ValueError(f"RedSync: trim is {self.trim!r}, expected True or False")

    def fits(self, count: int, k: int) -> bool:
        """Return whether the count is k to 2k, or exactly k with ``trim``."""
        return count == k if self.trim else super().fits(count, k)

    def guess(self, flat: Tensor, k: int) -> tuple[float, int]:
        """Count at thresholds between mean and largest magnitude."""
        most = moments.largest_magnitude(flat)
        mean = min(moments.mean_magnitude(flat), most)  # a sum that overflows is infinite
        return (_descend if self.trim else _bisect)(flat, k, mean, most)


def _bisect(flat: Tensor, k: int, mean: float, most: float) -> tuple[float, int]:
    threshold, count, low, high = most, 0, 0.0, 1.0
    while high - low > _CLOSE and not k <= count <= 2 * k:
        middle = (low + high) / 2
        threshold = mean + middle * (most - mean)
        count = select.count_at_least(flat, threshold)
        low, high = (low, middle) if count < k else (middle, high)
    return threshold, count


def _descend(flat: Tensor, k: int, mean: float, most: float) -> tuple[float, int]:
    threshold, count, share = most, 0, 1.0
    while count < k and share > _CLOSE / 2:
        share -= _CLOSE
        threshold = mean + share * (most - mean)
        count = select.count_at_least(flat, threshold)
    return threshold, count
