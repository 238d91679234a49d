"""The largest of every chunk on one CPU core. Floats are compared as integers, as in ``cpu``.

guess  -> a bound a little below the k-th magnitude of the chunk before; nothing where that leaves fewer than k
narrow -> compare 64 magnitudes at a time, collect places and magnitudes from the bound up: a few more than k
refine -> the exact k-th magnitude among those, bit by bit; ties by place
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thinwire.kernels.jit import njit
from thinwire.kernels.select import chunked
from thinwire.kernels.select.lanes import LANES, lowest_bit, word_at_least

_jit = njit(cache=True, nogil=True, boundscheck=False)
_inlined = njit(inline="always")
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def largest(x: Tensor, keep: int, chunk: int) -> Tensor:
    """Equal ``chunked.plain``."""
    bits = x.detach().view(_INTEGERS[x.itemsize]).numpy()
    infinity = int(torch.tensor([torch.inf], dtype=x.dtype).view(_INTEGERS[x.itemsize]))
    rest = chunked.share(bits.size % chunk, keep, chunk)
    places = np.empty(bits.size // chunk * keep + rest, np.int64)
    found, magnitudes = np.empty(min(chunk, bits.size), np.int64), np.empty(min(chunk, bits.size), bits.dtype)
    _largest(bits, np.iinfo(bits.dtype).max, infinity, chunk, keep, rest, found, magnitudes, places)
    return torch.from_numpy(places)


@_jit
def _largest(bits, mask, infinity, chunk, keep, rest, found, magnitudes, places):  # type: ignore[no-untyped-def]
    at, guess = 0, 0
    # A quarter of an octave below: rarely too high, and not many more than k.
    slack = (infinity & -infinity) >> 2
    for start in range(0, bits.size, chunk):
        end = min(start + chunk, bits.size)
        k = keep if end - start == chunk else rest
        count = _collect(bits, start, end, guess, mask, infinity, found, magnitudes)
        if count < k:
            count = _collect(bits, start, end, 0, mask, infinity, found, magnitudes)
        kth = _kth(magnitudes, count, (mask >> 1) + 1, k)
        at = _keep(found, magnitudes, count, kth, k, places, at)
        guess = max(kth - slack, 0)


@_inlined
def _collect(bits, start, end, bound, mask, infinity, found, magnitudes):  # type: ignore[no-untyped-def]
    """Write place and magnitude of all from the bound up and return how many."""
    at, full = 0, end - (end - start) % LANES
    for base in range(start, full, LANES):
        word = word_at_least(bits, base, bound, mask)
        while word != 0:
            found[at] = base + lowest_bit(word)
            magnitudes[at] = min(bits[found[at]] & mask, infinity)
            at += 1
            word &= word - np.uint64(1)
    for place in range(full, end):
        if (bits[place] & mask) >= bound:
            found[at] = place
            magnitudes[at] = min(bits[place] & mask, infinity)
            at += 1
    return at


@_inlined
def _kth(magnitudes, count, bit, k):  # type: ignore[no-untyped-def]
    """Return the k-th largest magnitude, highest bit first: a bit belongs to it if k magnitudes reach that far."""
    kth = 0
    while bit != 0:
        reach = 0
        for i in range(count):
            reach += magnitudes[i] >= kth | bit
        if reach >= k:
            kth |= bit
        bit >>= 1
    return kth


@_inlined
def _keep(found, magnitudes, count, kth, k, places, at):  # type: ignore[no-untyped-def]
    """Write the places of all above the k-th magnitude and of the first equal to it, k in all."""
    ties = k
    for i in range(count):
        ties -= magnitudes[i] > kth
    for i in range(count):
        tied = magnitudes[i] == kth and ties > 0
        ties -= tied
        if tied or magnitudes[i] > kth:
            places[at] = found[i]
            at += 1
    return at
