"""Magnitudes as powers of two, exactly, denormals included."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels.blocks import PIECE

Floats = NDArray[np.floating]


def top(dtype: torch.dtype) -> int:
    """Return the exponent of the first power above all finite numbers: to it they round up, and there saturate."""
    return math.frexp(torch.finfo(dtype).max)[1]


def bottom(dtype: torch.dtype) -> int:
    """Return the exponent of the smallest positive number, a denormal."""
    return math.frexp(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps)[1] - 1


def symbols(x: Floats, random: np.random.Generator | None) -> tuple[NDArray[np.int32], int]:
    """Return what each element of a 1-D array is rounded to, and the exponent ``largest`` that this is told from.

    Zero is 0; a power of two is its sign times ``1 + largest - exponent``, which is at least 1. A magnitude that is a
    fraction (0 to 1) of the way from a power of two to the next becomes the next with that probability; without
    ``random``, if it is more than half of the way.
    """
    largest = math.frexp(max(float(x.max(initial=0.0)), -float(x.min(initial=0.0))))[1]
    out = np.empty(x.size, np.int32)
    for start in range(0, x.size, PIECE):
        piece = x[start : start + PIECE]
        levels = random.random(piece.size, dtype=piece.dtype) if random else np.full(1, 0.5, piece.dtype)
        out[start : start + PIECE] = _symbols(piece, levels, largest)
    return out, largest


def _symbols(x: Floats, levels: Floats, largest: int) -> NDArray[np.int32]:
    fractions, exponents = np.frexp(np.abs(x))
    fractions *= 2
    fractions -= 1
    exponents += levels < fractions
    signs: NDArray[np.int8] = (x != 0).view(np.int8) * (1 - 2 * np.signbit(x).view(np.int8))
    distances: NDArray[np.int32] = largest + 2 - exponents
    return distances * signs


def values(largest: int, furthest: int, dtype: torch.dtype) -> Tensor:
    """Return the numbers that the symbols ``-furthest`` to ``furthest`` stand for; those beyond the dtype saturate."""
    # Float64 has no power beyond its largest number to saturate from; no tensor that is encoded comes so close to it.
    powers = [math.ldexp(1.0, min(largest + 1 - distance, 1023)) for distance in range(1, furthest + 1)]
    most = torch.finfo(dtype).max
    both = torch.tensor([*(-power for power in reversed(powers)), 0.0, *powers], dtype=torch.float64)
    return both.clamp_(-most, most).to(dtype)


def decoded(symbols: Tensor, values: Tensor) -> Tensor:
    """Return the value of every symbol (1-D int32)."""
    out = values.new_empty(symbols.numel())
    for some, into in zip(torch.split(symbols, PIECE), torch.split(out, PIECE), strict=True):
        torch.index_select(values, 0, some + len(values) // 2, out=into)
    return out
