"""The loops of ``cpu``, on the bit patterns of floats as signed integers. ``mask`` is all bits but the sign."""

from __future__ import annotations

import numpy as np

from thinwire.kernels.jit import njit
from thinwire.kernels.select.lanes import LANES, bits_set, lowest_bit, word_at_least

_jit = njit(cache=True, nogil=True, boundscheck=False)
_inlined = njit(inline="always")
_BINS = 1 << 11


@_jit
def sweep(bits, bound, mask, places, magnitudes):  # type: ignore[no-untyped-def]
    """Write place and magnitude of all from the bound up; return how many, or -1 where there is no room for them."""
    at, full = 0, bits.size - bits.size % LANES
    for start in range(0, full, LANES):
        at = _collect(bits, start, bound, mask, places, magnitudes, at)
        if at < 0:
            return at
    return _collect_rest(bits, full, bound, mask, places, magnitudes, at)


@_jit
def sweep_sum(x, total, bits, bound, mask, places, magnitudes):  # type: ignore[no-untyped-def]
    """Add ``x`` to ``total``, whose patterns ``bits`` are, and do as ``sweep``. The sum is finished in any case."""
    at, full = 0, bits.size - bits.size % LANES
    for start in range(0, full, LANES):
        for i in range(start, start + LANES):
            total[i] += x[i]
        if at >= 0:
            at = _collect(bits, start, bound, mask, places, magnitudes, at)
    for i in range(full, bits.size):
        total[i] += x[i]
    return _collect_rest(bits, full, bound, mask, places, magnitudes, at)


@_inlined
def _collect(bits, start, bound, mask, places, magnitudes, at):  # type: ignore[no-untyped-def]
    word = word_at_least(bits, start, bound, mask)
    if word != 0 and at + bits_set(word) > places.size:
        return -1
    while word != 0:
        place = start + lowest_bit(word)
        places[at] = place
        magnitudes[at] = bits[place] & mask
        at += 1
        word &= word - np.uint64(1)
    return at


@_inlined
def _collect_rest(bits, start, bound, mask, places, magnitudes, at):  # type: ignore[no-untyped-def]
    for place in range(start, bits.size):
        if at >= 0 and (bits[place] & mask) >= bound:
            if at == places.size:
                return -1
            places[at] = place
            magnitudes[at] = bits[place] & mask
            at += 1
    return at


@_jit
def count(bits, bound, mask):  # type: ignore[no-untyped-def]
    """Return how many magnitudes are at least the bound."""
    found, full = 0, bits.size - bits.size % LANES
    for start in range(0, full, LANES):
        found += bits_set(word_at_least(bits, start, bound, mask))
    for i in range(full, bits.size):
        found += (bits[i] & mask) >= bound
    return found


@_jit
def kth(bits, mask, infinity, low, high, k):  # type: ignore[no-untyped-def]
    """Return the k-th largest magnitude, which must be at least ``low``, and how many equal to it belong to the k.

    Histograms of ever finer bits; each narrows the range to the bin that the k-th is in. ``high`` is a guess of where
    the range may end. NaN counts as infinity.
    """
    counts = np.empty(_BINS, np.int64)
    while True:
        shift = 0
        while (high - low) >> shift >= _BINS:
            shift += 1
        above = _count_bins(bits, mask, infinity, low, high, shift, counts)
        if above >= k:
            low, high = high + 1, infinity
            continue
        bin = (high - low) >> shift
        while above + counts[bin] < k:
            above += counts[bin]
            bin -= 1
        low += bin << shift
        if shift == 0:
            return low, k - above
        high = min(high, low + (1 << shift) - 1)


@_inlined
def _count_bins(bits, mask, infinity, low, high, shift, counts):  # type: ignore[no-untyped-def]
    counts[:] = 0
    above = 0
    for i in range(bits.size):
        magnitude = min(np.int64(bits[i] & mask), infinity)
        if magnitude > high:
            above += 1
        elif magnitude >= low:
            counts[(magnitude - low) >> shift] += 1
    return above


@_jit
def keep(places, magnitudes, infinity, kth, ties):  # type: ignore[no-untyped-def]
    """Move the places of all above the k-th magnitude, and of the first ``ties`` equal to it, to the front."""
    at = 0
    for i in range(places.size):
        magnitude = min(np.int64(magnitudes[i]), infinity)
        tied = magnitude == kth and ties > 0
        ties -= tied
        places[at] = places[i]
        at += tied or magnitude > kth


@_jit
def choose(bits, mask, infinity, kth, ties, places):  # type: ignore[no-untyped-def]
    """Write the places of all above the k-th magnitude and the first ``ties`` equal to it: as many as fit."""
    at = 0
    for i in range(bits.size):
        magnitude = min(np.int64(bits[i] & mask), infinity)
        tied = magnitude == kth and ties > 0
        ties -= tied
        if tied or magnitude > kth:
            places[at] = i
            at += 1


@_jit
def take_out(bits, indices, out):  # type: ignore[no-untyped-def]
    """Move the elements at the indices to ``out`` and leave zeros."""
    for i in range(indices.size):
        out[i] = bits[indices[i]]
        bits[indices[i]] = 0


@_jit
def sample_places(size, count):  # type: ignore[no-untyped-def]
    """Return a place from each of ``count`` equal parts, scattered: a fixed stride would meet a matrix's columns."""
    places = np.empty(count, np.int64)
    for i in range(count):
        start, end = i * size // count, (i + 1) * size // count
        scatter = (np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)
        places[i] = start + np.int64(scatter) % (end - start)
    return places
