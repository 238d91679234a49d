"""The k largest of each of many small segments, in one call: compiled from the guess to the last tie.

All work on the bit patterns of floats, as ``loops`` does.
"""

from __future__ import annotations

import math

import numpy as np

from thinwire.kernels.jit import njit
from thinwire.kernels.select.loops import choose, keep, kth, sample_places, sweep

_jit = njit(cache=True, nogil=True, boundscheck=False)
_LEAST_SAMPLE = 1024
_SIGMAS = 4


@_jit
def largest_of_each(bits, mask, infinity, lengths, counts, places):  # type: ignore[no-untyped-def]
    """Write where the largest of each segment are, counted from its start: ``counts[s]`` places of segment s."""
    start = at = 0
    for segment in range(lengths.size):
        end, to = start + lengths[segment], at + counts[segment]
        _largest(bits[start:end], mask, infinity, counts[segment], places[at:to])
        start, at = end, to


@_jit
def _largest(bits, mask, infinity, k, places):  # type: ignore[no-untyped-def]
    if k == 0 or _narrowed(bits, mask, infinity, k, places):
        return
    least, ties = kth(bits, mask, infinity, 0, infinity, k)
    choose(bits, mask, infinity, least, ties, places)


@_jit
def _narrowed(bits, mask, infinity, k, places):  # type: ignore[no-untyped-def]
    """Try a guess; return whether it held, and if so, the places are written."""
    count = sample_size(bits.size, k)
    if count == 0:
        return False
    sample = bits[sample_places(bits.size, count)]
    certain, likely, room = ranks(bits.size, k, count)
    low, _ = kth(sample, mask, infinity, 0, infinity, certain)
    high, _ = kth(sample, mask, infinity, low, infinity, likely)
    low, high = max(low, 1), max(high, 1)
    found, magnitudes = np.empty(room, np.int64), np.empty(room, bits.dtype)
    many = sweep(bits, bits.dtype.type(low), mask, found, magnitudes)
    if many < k:
        return False
    least, ties = kth(magnitudes[:many], mask, infinity, low, high, k)
    keep(found[:many], magnitudes[:many], infinity, least, ties)
    places[:] = found[:k]
    return True


@_jit
def sample_size(size, k):  # type: ignore[no-untyped-def]
    """Return how many of ``size`` elements to look at for a guess; 0 where that would not narrow anything."""
    # Larger samples cost more, smaller ones leave more to refine and to make room for: near the least of both.
    count = max(_LEAST_SAMPLE, 2 * int((size * k) ** (1 / 3)))
    expected = k * count / max(size, 1)
    return 0 if k == 0 or 2 * count > size or expected + _margin(expected) > count / 2 else count


@_jit
def ranks(size, k, count):  # type: ignore[no-untyped-def]
    """Return which of a sample of ``count`` the k-th of ``size`` very likely exceeds, and which it hardly does.

    Counted from the largest, from 1. The third number is how many of all to make room for.
    """
    expected = k * count / size
    margin = _margin(expected)
    room = math.ceil((expected + 1.75 * margin) * size / count)
    return math.ceil(expected + margin), math.ceil(max(expected - margin, 1.0)), room


@_jit
def _margin(expected):  # type: ignore[no-untyped-def]
    return _SIGMAS * math.sqrt(expected) + _SIGMAS
