"""Levels that are not evenly spaced: which one is the nearest, and ranges of equal counts. For float32 and float64.

Comparing with one threshold after the other beats a binary search by ten times, as long as they are few and what is
compared stays in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

PIECE = 1 << 15
_SAMPLE = 1 << 20
_BINS = 1 << 16


def reached(x: Floats, thresholds: Floats) -> NDArray[np.uint8]:
    """Return how many of at most 255 thresholds each element of a 1-D array reaches: compared exactly."""
    out = np.zeros(x.size, np.uint8)
    for start in range(0, x.size, PIECE):
        piece, counts = x[start : start + PIECE], out[start : start + PIECE]
        for threshold in thresholds:
            counts += piece >= threshold
    return out


def equal_counts(x: Floats, splits: int) -> tuple[Floats, Floats, Floats]:
    """Return the least element of every range but the first, and the least and largest element of every range.

    Ranges are parts of equal length of the sorted ``x`` (1-D, not empty), but equal elements stay together, in the
    range that begins with them. A range that gets nothing by that has zeros.
    """
    ascending = np.sort(x)
    edges = ascending[np.arange(1, splits) * x.size // splits]
    begins = np.searchsorted(ascending, edges, side="left")
    first, last = np.concatenate([[0], begins]), np.concatenate([begins, [x.size]]) - 1
    some = first <= last
    return edges, np.where(some, ascending[first], 0), np.where(some, ascending[last], 0)


def histogram_edges(x: Floats, splits: int) -> tuple[Floats, Floats, Floats]:
    """Return the same from a histogram of at most 2**20 elements, without sorting: counts are nearly equal.

    A bin is what shares the upper half of the bits of a float32: 1/128 of the magnitude, so that outliers do no harm.
    Ranges begin where bins do and end where the next range begins.
    """
    least, most = x.min(), x.max()
    peak = max(-least, most) or x.dtype.type(1)
    keys = _ordered((x[:: max(1, x.size // _SAMPLE)] / peak).astype(np.float32))
    counts = np.bincount(keys, minlength=_BINS).cumsum()
    bins = np.searchsorted(counts, np.arange(1, splits) * keys.size // splits, side="right")
    edges = np.clip(_lower_ends(bins).astype(x.dtype) * peak, least, most)
    return edges, np.concatenate([[least], edges]), np.concatenate([edges, [most]])


def _ordered(x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the bin of each element, 0 to 65535, in the order of the values."""
    bits = x.view(np.int32)
    return ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) >> 16).astype(np.int64) + _BINS // 2


def _lower_ends(bins: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the smallest float32 of each bin."""
    keys = ((bins - _BINS // 2) << 16).astype(np.int32)
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(np.float32)


def positions(x: Floats, edges: Floats, least: Floats, steps: Floats, bits: int) -> NDArray[np.int32]:
    """Return ``range * 2**bits + place``, where place is ``round((x - least) / step)``, or 0 where the step is."""
    out = np.empty(x.size, np.int32)
    inside = np.where(steps > 0, steps, np.inf)
    for start in range(0, x.size, PIECE):
        piece = x[start : start + PIECE]
        ranges = reached(piece, edges)
        place = np.rint((piece - least[ranges]) / inside[ranges])
        out[start : start + PIECE] = np.clip(place, 0, 2**bits - 1).astype(np.int32) + (ranges.astype(np.int32) << bits)
    return out
