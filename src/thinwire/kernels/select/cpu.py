"""Selection on one CPU core at memory speed. The loops release the GIL, so tensors can run side by side.

    guess  -> a bound that the k-th magnitude very likely exceeds by little, from a sample
    sweep  -> one pass: (add,) compare 64 magnitudes at a time, keep places and magnitudes from the bound up
    refine -> the exact k-th magnitude among those few by histograms of their bits; ties by place

The guess is checked, never trusted: where it leaves fewer than k, or more than there is room for, histograms of the
whole tensor decide. Floats are compared by their bit patterns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels.select import loops, segments
from thinwire.kernels.select.guess import Guess, guess_of
from thinwire.kernels.select.patterns import Bits, bits_of, bound_of, infinity_of, mask_of


def largest(x: Tensor, k: int) -> Tensor:
    """Equal ``reference.largest``."""
    return _largest(x, None, k)


def largest_of_each(x: Tensor, lengths: Sequence[int], counts: Sequence[int]) -> list[Tensor]:
    """Equal ``reference.largest_of_each``: many small segments in one call."""
    if len(lengths) == 1:
        return [largest(x, counts[0])]
    bits, places = bits_of(x), np.empty(sum(counts), np.int64)
    sizes, wanted = np.array(lengths, np.int64), np.array(counts, np.int64)
    segments.largest_of_each(bits, mask_of(bits), infinity_of(x.dtype), sizes, wanted, places)
    return list(torch.split(torch.from_numpy(places), list(counts)))


def accumulate_largest(residual: Tensor, x: Tensor, k: int) -> Tensor:
    """Equal ``reference.accumulate_largest``."""
    if residual.dtype == x.dtype and x.itemsize >= 4:
        return _largest(residual, x, k)
    return _largest(residual.add_(x), None, k)


def at_least(x: Tensor, threshold: float) -> Tensor:
    """Equal ``reference.at_least``. Counts first, so that it allocates no more than it returns."""
    bits, bound = bits_of(x), bound_of(threshold, x.dtype)
    places = np.empty(loops.count(bits, bound, mask_of(bits)), np.int64)
    loops.sweep(bits, bound, mask_of(bits), places, np.empty(places.size, bits.dtype))
    return torch.from_numpy(places)


def count_at_least(x: Tensor, threshold: float) -> int:
    """Equal ``reference.count_at_least``."""
    bits = bits_of(x)
    return int(loops.count(bits, bound_of(threshold, x.dtype), mask_of(bits)))


def take_out(x: Tensor, indices: Tensor) -> Tensor:
    """Equal ``reference.take_out``."""
    bits = bits_of(x)
    out = np.empty(len(indices), bits.dtype)
    loops.take_out(bits, indices.numpy(), out)
    return torch.from_numpy(out).view(x.dtype)


def _largest(x: Tensor, added: Tensor | None, k: int) -> Tensor:
    """Return the indices of the k largest of ``x``, to which ``added`` is added in place if given."""
    found = gather(x, added, k)
    return refine(*found, k, x.dtype) if found else _by_histograms(x, k)


def gather(x: Tensor, added: Tensor | None, k: int) -> tuple[NDArray[np.int64], Bits, Guess] | None:
    """Return places and magnitudes of k elements or some more, the largest; None where the guess did not hold.

    ``added``, if given, is added to ``x`` in place in any case.
    """
    guess = guess_of(x, added, k)
    if guess is None:
        if added is not None:
            x.add_(added)
        return None
    places, magnitudes = np.empty(guess.room, np.int64), np.empty(guess.room, bits_of(x).dtype)
    found = _sweep(x, added, guess.low, places, magnitudes)
    return (places[:found], magnitudes[:found], guess) if found >= k else None


def _sweep(x: Tensor, added: Tensor | None, low: int, places: NDArray[np.int64], magnitudes: Bits) -> int:
    bits = bits_of(x)
    bound = bits.dtype.type(low)
    if added is None:
        return int(loops.sweep(bits, bound, mask_of(bits), places, magnitudes))
    return int(loops.sweep_sum(added.numpy(), x.numpy(), bits, bound, mask_of(bits), places, magnitudes))


def refine(places: NDArray[np.int64], magnitudes: Bits, guess: Guess, k: int, dtype: torch.dtype) -> Tensor:
    """Return the places of the k largest, moved to the front in place; the guess bounds where the k-th is."""
    infinity = infinity_of(dtype)
    kth, ties = loops.kth(magnitudes, mask_of(magnitudes), infinity, guess.low, guess.high, k)
    loops.keep(places, magnitudes, infinity, kth, ties)
    # The places beyond k stay allocated with the result: a fraction of it, and no copy.
    return torch.from_numpy(places[:k])


def front(places: NDArray[np.int64], magnitudes: Tensor, threshold: float) -> NDArray[np.int64]:
    """Move the places of all from the threshold up to the front, in place."""
    infinity, bound = infinity_of(magnitudes.dtype), int(bound_of(threshold, magnitudes.dtype))
    loops.keep(places, bits_of(magnitudes), infinity, bound - 1, 0)
    return places


def _by_histograms(x: Tensor, k: int) -> Tensor:
    if k in (0, x.numel()):
        return torch.arange(k)
    bits, infinity, places = bits_of(x), infinity_of(x.dtype), np.empty(k, np.int64)
    kth, ties = loops.kth(bits, mask_of(bits), infinity, 0, infinity, k)
    loops.choose(bits, mask_of(bits), infinity, kth, ties, places)
    return torch.from_numpy(places)
