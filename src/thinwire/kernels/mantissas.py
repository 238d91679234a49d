"""Floats as sign, exponent and a few bits of mantissa, and back: exact in every dtype, denormals included."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels import dispatch, fresh
from thinwire.kernels.blocks import PIECE
from thinwire.kernels.narrow import saturate

Floats = NDArray[np.floating]
Integers = NDArray[np.int32]


def top(dtype: torch.dtype) -> int:
    """Return the largest exponent that rounding leads to: one above that of the largest finite number."""
    return int(np.frexp(torch.finfo(dtype).max)[1]) + 1


def bottom(dtype: torch.dtype) -> int:
    """Return the exponent of the smallest positive number, a denormal."""
    return int(np.frexp(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps)[1])


def rounded(x: Floats, bits: int) -> tuple[Integers, Integers]:
    """Return exponents and significands of the magnitudes (1-D, finite) rounded to ``bits`` bits behind the first.

    A magnitude is about ``significand * 2**(exponent - bits - 1)``, the significand from ``2**bits`` to below twice
    that: off by at most ``2**-(bits + 1)`` of itself. Ties go to even. Both are 0 for 0.
    """
    exponents, significands = np.empty(x.size, np.int32), np.empty(x.size, np.int32)
    for start in range(0, x.size, PIECE):
        piece = slice(start, start + PIECE)
        exponents[piece], significands[piece] = _rounded(x[piece], bits)
    return exponents, significands


def _rounded(x: Floats, bits: int) -> tuple[Integers, Integers]:
    fractions, exponents = np.frexp(np.abs(x))
    significands = np.rint(np.ldexp(fractions, bits + 1)).astype(np.int32)
    carried = significands == 2 << bits
    significands[carried] = 1 << bits
    return exponents + carried, significands


def values(symbols: Integers, largest: int, significands: Integers, bits: int, dtype: torch.dtype) -> Tensor:
    """Return the floats of signed distances (1-D): 0 for 0, else of exponent ``largest + 1 - abs(distance)``.

    ``significands`` are of those that are not 0, in their order. What lies beyond the dtype saturates.
    """
    out = fresh.empty((symbols.size,), dtype)
    used = 0
    for start in range(0, symbols.size, PIECE):
        piece = symbols[start : start + PIECE]
        some = piece != 0
        count = int(np.count_nonzero(some))
        wide = np.zeros(piece.size)
        wide[some] = _values(piece[some], largest, significands[used : used + count], bits)
        out[start : start + PIECE] = saturate(torch.from_numpy(wide), dtype)
        used += count
    return out


def _values(symbols: Integers, largest: int, significands: Integers, bits: int) -> NDArray[np.float64]:
    with np.errstate(over="ignore", under="ignore"):
        wide = np.ldexp((significands * np.sign(symbols)).astype(np.float64), largest - bits - np.abs(symbols))
    limits = np.finfo(np.float64)
    out: NDArray[np.float64] = np.clip(wide, limits.min, limits.max)
    return out


def packed(significands: Integers, bits: int) -> Tensor:
    """Return the low ``bits`` bits of each (the first one is always set), low ones first, as uint8; nothing for zeros.

    So masks, and whatever else holds powers of two only, cost no more than their exponents.
    """
    low = significands & ((1 << bits) - 1)
    return dispatch.pack(torch.from_numpy(low), bits) if low.any() else torch.empty(0, dtype=torch.uint8)


def unpacked(data: Tensor, bits: int, count: int) -> Integers:
    """Return ``count`` significands; ``data`` must hold nothing, or exactly ``dispatch.packed_bytes(count, bits)``."""
    low = dispatch.unpack(data, bits, count).numpy() if data.numel() else np.zeros(count, np.int32)
    return low.astype(np.int32, copy=False) | np.int32(1 << bits)
