"""The rotation in plain torch, on any device: slow, obvious, and the truth that the compiled loops must equal.

The order of the additions is part of it, as it decides how floats are rounded.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels.hadamard.normal import WIDTH, Codebook

_HEADROOM = 22
_SHORT = 256


def quantize(
    rows: Tensor, factors: Tensor, signs: NDArray[np.uint64], fine: Tensor, dither: Tensor, book: Codebook
) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes, dots and squares; see ``hadamard.quantize``."""
    z = rows * factors[:, None]
    for turn in signs:
        z = transform(z * flips(turn, z))
    ends, levels = (torch.from_numpy(array).to(z.device).view(2, WIDTH) for array in (book.ends, book.floats))
    moved = z + dither.to(z.device)
    both = [torch.bucketize(moved, row, right=True) for row in ends]
    codes = torch.where(fine.bool(), both[1], both[0])
    chosen = torch.where(fine.bool(), levels[1][codes], levels[0][codes])
    return codes.to(torch.uint8), folded(z * chosen), folded(chosen * chosen)


def restore(codes: Tensor, signs: NDArray[np.uint64], fine: Tensor, book: Codebook) -> Tensor:
    """Return int32 levels turned back; see ``hadamard.restore``."""
    levels = torch.from_numpy(book.integers).to(codes.device)
    v = levels[codes.long() + fine.long() * WIDTH]
    for turn in reversed(range(len(signs))):
        v = turned(v)
        if turn:
            drop, most = shift(v.shape[1]), limit(v.shape[1])
            v = ((v + (1 << drop >> 1)) >> drop).clamp(-most, most)
        v = v * flips(signs[turn], v)
    return v


def turned(levels: Tensor) -> Tensor:
    """Return what ``transform`` does of int32 levels: short rows by one product, exact in float64 in any order."""
    size = levels.shape[1]
    if size > _SHORT or levels.device.type != "cpu":
        return transform(levels)
    return (levels.double() @ _matrix(size)).to(torch.int32)


@cache
def _matrix(size: int) -> Tensor:
    return transform(torch.eye(size, dtype=torch.float64))


def transform(rows: Tensor) -> Tensor:
    """Return every row (a power of two long) times the Hadamard matrix of ones and minus ones."""
    for stride in strides(rows.shape[1]):
        pairs = rows.view(len(rows), -1, 2, stride)
        rows = torch.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2).view_as(rows)
    return rows


def strides(size: int) -> list[int]:
    """Return how far apart the partners of each stage are: two stages at a time, from the widest pair down."""
    found, left = [], size
    while left >= 4:
        found += [left // 4, left // 2]
        left //= 4
    return found + [1] * (left == 2)


def flips(words: NDArray[np.uint64], rows: Tensor) -> Tensor:
    """Return 1 or, where the bit is set, -1, in the shape and dtype of ``rows``. Low bits come first."""
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little").reshape(rows.shape)
    return 1 - 2 * torch.from_numpy(bits).to(rows.device, rows.dtype)


def folded(rows: Tensor) -> Tensor:
    """Return the sum of every row, added up as a tree."""
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        rows = rows[:, :half] + rows[:, half:]
    return rows[:, 0]


def shift(size: int) -> int:
    """Return the bits dropped between two turns."""
    return max(0, (3 * (size.bit_length() - 1) - _HEADROOM) // 2)


def limit(size: int) -> int:
    """Return the largest magnitude of which ``size`` add up to less than 2**31: over 22 standard deviations.

    No honest sender's element is that large, but a hostile one's may be.
    """
    return (1 << 31) // size - 1
