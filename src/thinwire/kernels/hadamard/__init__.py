"""Random rotations by Hadamard transforms, a power of two of elements at a time, and the best levels for the result.

    quantize: x -> signs -> H (-> signs -> H) -> nearest of the levels     float32, any order of magnitude
    restore:  levels -> H (-> signs -> H) -> signs                         integers only: adds, subtractions and a shift

A rotated element is a sum of all elements under random signs: it is nearly normal, whatever they were. Large tensors on
a CPU go to compiled loops, all others to the torch reference; both give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels.hadamard import reference
from thinwire.kernels.hadamard.normal import codebook

__all__ = ["Quantized", "quantize", "restore", "shift"]

_WORTH_COMPILING = 1 << 14


@dataclass(frozen=True)
class Quantized:
    """Codes (uint8, blocks x size), and of every block (float32) how they go together with what they stand for."""

    codes: Tensor
    dots: Tensor
    """Sum of element times level, both in standard deviations."""
    squares: Tensor
    """Sum of squared levels."""


def quantize(
    rows: Tensor, factors: Tensor, signs: NDArray[np.uint64], fine: Tensor, dither: Tensor, bits: int
) -> Quantized:
    """Rotate ``rows * factors`` (float32, blocks x size; blocks) and choose the nearest of the normal levels.

    ``signs`` is (turns, elements / 64): a set bit flips an element's sign before that turn. ``fine`` (uint8, size) is 1
    where an element gets ``bits + 1`` bits, 0 where ``bits``. ``factors`` have to make the rotated elements, which are
    sqrt(size) longer with every turn, those of variance 1. ``dither`` (float32, size) is added to these before a level
    is chosen, and to nothing else.
    """
    return Quantized(*_kernels(rows).quantize(rows, factors, signs, fine, dither, codebook(bits)))


def restore(codes: Tensor, signs: NDArray[np.uint64], fine: Tensor, bits: int) -> Tensor:
    """Return int32 (blocks, size): the levels of the codes turned back, in ``normal.UNIT`` to a standard deviation.

    Every turn makes them sqrt(size) longer, but after the first of two they lose ``shift(size)`` bits.
    """
    return _kernels(codes).restore(codes, signs, fine, codebook(bits))  # type: ignore[no-any-return]


def shift(size: int, turns: int) -> int:
    """Return the bits dropped between two turns, so that sums of ``size`` integers stay below 2**31."""
    return reference.shift(size) if turns == 2 else 0


def _kernels(x: Tensor) -> Any:
    """Return the module that suits a tensor. The compiled one is loaded on first use: numba takes its time."""
    if x.device.type != "cpu" or x.numel() < _WORTH_COMPILING:
        return reference
    from thinwire.kernels.hadamard import cpu

    return cpu
