"""Floats as sign, exponent and a few bits of mantissa, and back: exact in every dtype, denormals included."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels import dispatch
from thinwire.kernels.narrow import saturate

Floats = NDArray[np.floating]
Exponents = NDArray[np.int32]


def top(dtype: torch.dtype) -> int:
    """Return the largest exponent that rounding leads to: one above that of the largest finite number."""
    return int(np.frexp(torch.finfo(dtype).max)[1]) + 1


def bottom(dtype: torch.dtype) -> int:
    """Return the exponent of the smallest positive number, a denormal."""
    return int(np.frexp(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps)[1])


def rounded(x: Floats, bits: int) -> tuple[Exponents, NDArray[np.int32]]:
    """Return exponents and significands of the magnitudes (1-D, finite) rounded to ``bits`` bits behind the first.

    A magnitude is about ``significand * 2**(exponent - bits - 1)``, the significand from ``2**bits`` to below twice
    that: off by at most ``2**-(bits + 1)`` of itself. Ties go to even. Both are 0 for 0.
    """
    fractions, exponents = np.frexp(np.abs(x))
    # As float64: a float32 near its limits would be scaled to the same, but nothing has to be said about it.
    significands = np.rint(np.ldexp(fractions.astype(np.float64), bits + 1)).astype(np.int32)
    carried = significands == 2 << bits
    significands[carried] = 1 << bits
    return (exponents + carried).astype(np.int32, copy=False), significands


def values(exponents: Exponents, significands: NDArray[np.int32], bits: int, dtype: torch.dtype) -> Tensor:
    """Return the float of each exponent and signed significand; what lies beyond the dtype saturates."""
    with np.errstate(over="ignore", under="ignore"):
        wide = np.ldexp(significands.astype(np.float64), exponents - (bits + 1))
    most = np.finfo(np.float64).max
    return saturate(torch.from_numpy(np.clip(wide, -most, most)), dtype)


def packed(significands: NDArray[np.int32], bits: int) -> Tensor:
    """Return the low ``bits`` bits of each (the first one is always set), low ones first, as uint8; nothing for zeros.

    So masks, and whatever else holds powers of two only, cost no more than their exponents.
    """
    low = significands & ((1 << bits) - 1)
    return dispatch.pack(torch.from_numpy(low), bits) if low.any() else torch.empty(0, dtype=torch.uint8)


def unpacked(data: Tensor, bits: int, count: int) -> NDArray[np.int32]:
    """Return ``count`` significands; ``data`` must hold nothing, or exactly ``dispatch.packed_bytes(count, bits)``."""
    low = dispatch.unpack(data, bits, count).numpy() if data.numel() else np.zeros(count, np.int32)
    return low.astype(np.int32, copy=False) | np.int32(1 << bits)
