"""Selection on one CPU core at memory speed. The loops release the GIL, so tensors can run side by side.

    guess  -> a bound that the k-th magnitude very likely exceeds by little: of the last step, or from a sample
    sweep  -> one pass: (add,) compare 64 magnitudes at a time, keep places and magnitudes from the bound up
    refine -> the exact k-th magnitude among those few by histograms of their bits; ties by place

Guesses are checked, never trusted: a bound that leaves fewer than k, or more than there is room for, costs another
sweep, and where none holds, histograms of the whole tensor decide. Floats are compared as integers: without their sign,
bit patterns are in order of magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels.select import loops
from thinwire.kernels.select.lanes import LANES

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_LEAST_SAMPLE = 1024
_SIGMAS = 4
_SLACK = 0.97

Bits = NDArray[Any]


def largest(x: Tensor, k: int, hint: float | None = None) -> Tensor:
    """Equal ``reference.largest``."""
    return _largest(x, None, k, hint)


def accumulate_largest(residual: Tensor, x: Tensor, k: int, hint: float | None = None) -> Tensor:
    """Equal ``reference.accumulate_largest``."""
    if residual.dtype == x.dtype and x.itemsize >= 4:
        return _largest(residual, x, k, hint)
    return _largest(residual.add_(x), None, k, hint)


def at_least(x: Tensor, threshold: float) -> Tensor:
    """Equal ``reference.at_least``. Counts first, so that it allocates no more than it returns."""
    bits, bound = _bits(x), _bound(threshold, x.dtype)
    places = np.empty(loops.count(bits, bound, _mask(bits)), np.int64)
    loops.sweep(bits, bound, _mask(bits), places, np.empty(places.size, bits.dtype))
    return torch.from_numpy(places)


def count_at_least(x: Tensor, threshold: float) -> int:
    """Equal ``reference.count_at_least``."""
    bits = _bits(x)
    return int(loops.count(bits, _bound(threshold, x.dtype), _mask(bits)))


def take_out(x: Tensor, indices: Tensor) -> Tensor:
    """Equal ``reference.take_out``."""
    bits = _bits(x)
    out = np.empty(len(indices), bits.dtype)
    loops.take_out(bits, indices.numpy(), out)
    return torch.from_numpy(out).view(x.dtype)


@dataclass(frozen=True)
class _Guess:
    """A magnitude that the k-th exceeds, one that it hardly does, and for how many elements to make room."""

    low: int
    high: int
    room: int


def _largest(x: Tensor, added: Tensor | None, k: int, hint: float | None) -> Tensor:
    """Return the indices of the k largest of ``x``, to which the first sweep adds ``added`` if given."""
    for guess in _guesses(x, added, k, hint):
        places, magnitudes = np.empty(guess.room, np.int64), np.empty(guess.room, _bits(x).dtype)
        found = _sweep(x, added, guess.low, places, magnitudes)
        added = None
        if found >= k:
            return _refined(places[:found], magnitudes[:found], guess, k, _infinity(x.dtype))
    return _by_histograms(x if added is None else x.add_(added), k)


def _guesses(x: Tensor, added: Tensor | None, k: int, hint: float | None) -> Iterator[_Guess]:
    """Yield guesses, the next one only if the one before did not hold."""
    if hint is not None and k:
        low, high = (int(_bound(max(hint, 0.0) * factor, x.dtype)) for factor in (_SLACK, 1 / _SLACK))
        yield _Guess(low, high, k + k // 4 + x.numel() // 512 + LANES)
        added = None
    # Larger samples cost more, smaller ones leave more to refine and to make room for: near the least of both.
    count = max(_LEAST_SAMPLE, 2 * int((x.numel() * k) ** (1 / 3)))
    expected = k * count / max(x.numel(), 1)
    margin = _SIGMAS * math.sqrt(expected) + _SIGMAS
    if k and 2 * count <= x.numel() and expected + margin < count / 2:
        sample = _sample(x, added, count)
        ranks = (expected + margin, max(expected - margin, 1))
        low, high = (loops.kth(sample, _mask(sample), _infinity(x.dtype), 0, 0, math.ceil(rank))[0] for rank in ranks)
        yield _Guess(max(low, 1), max(high, 1), math.ceil((expected + 2 * margin) * x.numel() / count))


def _sample(x: Tensor, added: Tensor | None, count: int) -> Bits:
    places = loops.sample_places(x.numel(), count)
    if added is None:
        chosen: Bits = _bits(x)[places]
        return chosen
    return _bits(torch.from_numpy(x.numpy()[places] + added.numpy()[places]))


def _sweep(x: Tensor, added: Tensor | None, low: int, places: NDArray[np.int64], magnitudes: Bits) -> int:
    bits = _bits(x)
    bound = bits.dtype.type(low)
    if added is None:
        return int(loops.sweep(bits, bound, _mask(bits), places, magnitudes))
    return int(loops.sweep_sum(added.numpy(), x.numpy(), bits, bound, _mask(bits), places, magnitudes))


def _refined(places: NDArray[np.int64], magnitudes: Bits, guess: _Guess, k: int, infinity: int) -> Tensor:
    kth, ties = loops.kth(magnitudes, _mask(magnitudes), infinity, guess.low, guess.high, k)
    loops.keep(places, magnitudes, infinity, kth, ties)
    # The places beyond k stay allocated with the result: a fraction of it, and no copy.
    return torch.from_numpy(places[:k])


def _by_histograms(x: Tensor, k: int) -> Tensor:
    if k in (0, x.numel()):
        return torch.arange(k)
    bits, infinity, places = _bits(x), _infinity(x.dtype), np.empty(k, np.int64)
    kth, ties = loops.kth(bits, _mask(bits), infinity, 0, infinity, k)
    loops.choose(bits, _mask(bits), infinity, kth, ties, places)
    return torch.from_numpy(places)


def _bits(x: Tensor) -> Bits:
    return x.detach().view(_INTEGERS[x.itemsize]).numpy()


def _mask(bits: Bits) -> Any:
    """Return all bits but the sign, as a scalar of the same dtype."""
    return bits.dtype.type(np.iinfo(bits.dtype).max)


@cache
def _infinity(dtype: torch.dtype) -> int:
    """Return infinity's bit pattern. NaN's are larger and count as that."""
    return int(_bits(torch.tensor([torch.inf], dtype=dtype))[0])


def _bound(threshold: float, dtype: torch.dtype) -> Any:
    """Return the bit pattern, a scalar of the integer dtype, of the smallest magnitude of at least ``threshold``."""
    nearest = torch.tensor([max(threshold, 0.0)], dtype=torch.float64).to(dtype)
    pattern = _bits(nearest)
    return pattern[0] + pattern.dtype.type(float(nearest) < threshold)
