"""The rotation compiled by numba for one CPU core, a block at a time: it stays in the first cache.

Loops are short and apart, so that LLVM makes vector instructions of each: one loop that does all takes four times as
long. Two stages of a transform are one sweep, which reads four runs and writes them interleaved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels.hadamard import reference
from thinwire.kernels.hadamard.normal import CELLS, CELLS_TO_ONE, WIDTH, Codebook
from thinwire.kernels.jit import njit

_jit = njit(cache=True, nogil=True, boundscheck=False)
# Never called from Python: without entry points for it, functions compile a third faster.
_LEAN: Any = {"boundscheck": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_inner = njit(**_LEAN)
_TO_ONE, _MIDDLE = np.float32(CELLS_TO_ONE), np.float32(CELLS // 2)


def quantize(
    rows: Tensor, factors: Tensor, signs: NDArray[np.uint64], fine: Tensor, dither: Tensor, book: Codebook
) -> tuple[Tensor, Tensor, Tensor]:
    """Equal ``reference.quantize``."""
    codes = np.empty(rows.shape, np.uint8)
    sums = np.empty((2, len(rows)), np.float32)
    kinds = fine.numpy().astype(np.int32)
    source = rows.contiguous().numpy()
    moves = dither.numpy()
    _quantize(source, factors.numpy(), signs, kinds, moves, book.starts, book.ends, book.floats, codes, sums)
    return torch.from_numpy(codes), torch.from_numpy(sums[0]), torch.from_numpy(sums[1])


def restore(codes: Tensor, signs: NDArray[np.uint64], fine: Tensor, book: Codebook) -> Tensor:
    """Equal ``reference.restore``."""
    out = np.empty(codes.shape, np.int32)
    size = codes.shape[1]
    kinds = fine.numpy().astype(np.int32)
    drop, most = np.int32(reference.shift(size)), np.int32(reference.limit(size))
    _restore(codes.contiguous().numpy(), signs, kinds, book.integers, drop, most, out)
    return torch.from_numpy(out)


@_jit
def _quantize(rows, factors, signs, kinds, moves, starts, ends, levels, codes, sums):  # type: ignore[no-untyped-def]
    blocks, size = rows.shape
    x, y, found = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.int32)
    words = size // 64
    for row in range(blocks):
        _scale(rows[row], factors[row], x)
        for turn in range(signs.shape[0]):
            _flip(x, signs[turn, row * words : (row + 1) * words])
            x, y = _transform(x, y)
        _moved(x, moves, y)
        _cells(y, kinds, found)
        _look_up(starts, found, found)
        _correct(y, ends, found)
        _look_up(levels, found, y)
        _narrow(found, codes[row])
        _multiply(x, y)
        _multiply(y, y)
        sums[0, row] = _folded(x)
        sums[1, row] = _folded(y)


@_jit
def _restore(codes, signs, kinds, integers, drop, most, out):  # type: ignore[no-untyped-def]
    blocks, size = codes.shape
    x, y = np.empty(size, np.int32), np.empty(size, np.int32)
    words = size // 64
    for row in range(blocks):
        _chosen(integers, codes[row], kinds, x)
        for turn in range(signs.shape[0] - 1, -1, -1):
            x, y = _transform(x, y)
            if turn > 0:
                _shift(x, drop, most)
            _flip(x, signs[turn, row * words : (row + 1) * words])
        _copy(x, out[row])


@_inner
def _flip(x, words):  # type: ignore[no-untyped-def]
    one, two = x.dtype.type(1), x.dtype.type(2)
    for w in range(words.size):
        word = words[w]
        for i in range(64):
            x[64 * w + i] *= one - two * x.dtype.type((word >> np.uint64(i)) & np.uint64(1))


@_inner
def _transform(x, y):  # type: ignore[no-untyped-def]
    """Return the transformed array and the other one; which is which depends on how many sweeps there are."""
    left = x.size
    while left >= 4:
        quarter = x.size // 4
        _two_stages(x[:quarter], x[quarter : 2 * quarter], x[2 * quarter : 3 * quarter], x[3 * quarter :], y)
        x, y = y, x
        left //= 4
    if left == 2:
        _one_stage(x[: x.size // 2], x[x.size // 2 :], y)
        x, y = y, x
    return x, y


@_inner
def _two_stages(a, b, c, d, out):  # type: ignore[no-untyped-def]
    for j in range(a.size):
        p, q, r, s = a[j] + b[j], a[j] - b[j], c[j] + d[j], c[j] - d[j]
        out[4 * j], out[4 * j + 1], out[4 * j + 2], out[4 * j + 3] = p + r, q + s, p - r, q - s


@_inner
def _one_stage(a, b, out):  # type: ignore[no-untyped-def]
    for j in range(a.size):
        out[2 * j], out[2 * j + 1] = a[j] + b[j], a[j] - b[j]


@_inner
def _scale(values, factor, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = values[i] * factor


@_inner
def _moved(x, moves, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = x[i] + moves[i]


@_inner
def _copy(x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = x[i]


@_inner
def _multiply(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        x[i] *= y[i]


@_inner
def _shift(x, drop, most):  # type: ignore[no-untyped-def]
    half = (np.int32(1) << drop) >> np.int32(1)
    for i in range(x.size):
        x[i] = min(max((x[i] + half) >> drop, -most), most)


@_inner
def _cells(z, kinds, found):  # type: ignore[no-untyped-def]
    for i in range(z.size):
        # Clamped as an integer: whatever NaN becomes, it stays within the tables.
        cell = min(max(np.int32(np.floor(z[i] * _TO_ONE + _MIDDLE)), np.int32(0)), np.int32(CELLS - 1))
        found[i] = cell + kinds[i] * np.int32(CELLS)


@_inner
def _look_up(table, places, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = table[np.uint32(places[i])]


@_inner
def _correct(z, ends, found):  # type: ignore[no-untyped-def]
    for i in range(z.size):
        found[i] += np.int32(z[i] >= ends[np.uint32(found[i])])


@_inner
def _narrow(found, codes):  # type: ignore[no-untyped-def]
    for i in range(codes.size):
        codes[i] = np.uint8(found[i] & np.int32(WIDTH - 1))


@_inner
def _chosen(table, codes, kinds, out):  # type: ignore[no-untyped-def]
    for i in range(codes.size):
        out[i] = table[np.uint32(np.int32(codes[i]) + kinds[i] * np.int32(WIDTH))]


@_inner
def _folded(x):  # type: ignore[no-untyped-def]
    half = x.size // 2
    while half > 0:
        for i in range(half):
            x[i] += x[half + i]
        half //= 2
    return x[0]
