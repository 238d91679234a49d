"""The same loops compiled by numba for one CPU core. They release the GIL, so tensors can run side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thinwire.kernels.jit import njit

_jit = njit(cache=True, nogil=True, boundscheck=False)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Equal ``reference.pack``."""
    out = np.empty((len(codes) * bits + 7) // 8, np.uint8)
    values, whole = codes.to(torch.int32).contiguous().numpy(), _eights(len(codes), bits)
    _pack_eights(values[:whole], bits, out)
    _pack(values[whole:], bits, out[whole * bits // 8 :])
    return torch.from_numpy(out)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Equal ``reference.unpack``."""
    out = np.empty(count, np.int32)
    values, whole = packed.contiguous().numpy(), _eights(count, bits)
    _unpack_eights(values, bits, out[:whole])
    _unpack(values[whole * bits // 8 :], bits, out[whole:])
    return torch.from_numpy(out)


def squared_error(x: Tensor, step: float, threshold: float) -> float:
    """Equal ``reference.squared_error``, but for the order of the sum."""
    values = x.contiguous().view(-1).numpy()
    kind = values.dtype.type
    return float(_squared_error(values, kind(1.0 / step), kind(1.0 - threshold), kind(2.0**30), kind(step)))


def energy(x: Tensor) -> float:
    """Return the sum of squares of a 1-D float32 tensor: in float64 none of them over- or underflows."""
    return float(_energy(x.contiguous().numpy()))


def energies(x: Tensor, lengths: Sequence[int]) -> list[float]:
    """Return the ``energy`` of each of consecutive segments."""
    out = np.empty(len(lengths), np.float64)
    _energies(x.numpy(), np.array(lengths, np.int64), out)
    return out.tolist()


def add(x: Tensor, y: Tensor, out: Tensor) -> float:
    """Write ``x + y`` to ``out`` and return its ``energy``."""
    return float(_add(*(part.view(-1).numpy() for part in (x, y, out))))


def all_within(x: Tensor, symbols: Tensor, step: float, bound: float) -> bool:
    """Equal ``reference.all_within``."""
    values = x.contiguous().view(-1).numpy()
    return not _outside(values, symbols.contiguous().view(-1).numpy(), values.dtype.type(step), bound)


def residual_(x: Tensor, step: float, threshold: float) -> None:
    """Equal ``reference.residual_``."""
    values = x.view(-1).numpy()
    kind = values.dtype.type
    _residual(values, kind(1.0 / step), kind(1.0 - threshold), kind(2.0**30), kind(step))


def _eights(count: int, bits: int) -> int:
    """Return how many codes are done eight at a time: those that make a word of ``bits`` bytes, up to eight."""
    return count - count % 8 if bits <= 8 else 0


def quantize(x: Tensor, inverse_step: float, threshold: float) -> Tensor:
    """Equal ``reference.quantize``."""
    values = x.contiguous().view(-1).numpy()
    out = np.empty(values.size, np.int32)
    kind = values.dtype.type
    _quantize(values, kind(inverse_step), kind(1.0 - threshold), kind(2.0**30), out)
    return torch.from_numpy(out).view(x.shape)


@_jit
def _pack(codes, bits, out):  # type: ignore[no-untyped-def]
    held, fill, at = np.uint64(0), np.uint64(0), 0
    for i in range(codes.size):
        held |= np.uint64(codes[i]) << fill
        fill += np.uint64(bits)
        while fill >= 8:
            out[at] = np.uint8(held & np.uint64(255))
            held >>= np.uint64(8)
            fill -= np.uint64(8)
            at += 1
    if fill > 0:
        out[at] = np.uint8(held & np.uint64(255))


@_jit
def _unpack(packed, bits, out):  # type: ignore[no-untyped-def]
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    held, fill, at = np.uint64(0), np.uint64(0), 0
    for i in range(out.size):
        while fill < bits:
            held |= np.uint64(packed[at]) << fill
            fill += np.uint64(8)
            at += 1
        out[i] = np.int32(held & mask)
        held >>= np.uint64(bits)
        fill -= np.uint64(bits)


@_jit
def _pack_eights(codes, bits, out):  # type: ignore[no-untyped-def]
    for eight in range(codes.size // 8):
        word = np.uint64(0)
        for j in range(8):
            word |= np.uint64(codes[8 * eight + j]) << np.uint64(j * bits)
        for k in range(bits):
            out[eight * bits + k] = np.uint8(word & np.uint64(255))
            word >>= np.uint64(8)


@_jit
def _unpack_eights(packed, bits, out):  # type: ignore[no-untyped-def]
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for eight in range(out.size // 8):
        word = np.uint64(0)
        for k in range(bits):
            word |= np.uint64(packed[eight * bits + k]) << np.uint64(8 * k)
        for j in range(8):
            out[8 * eight + j] = np.int32((word >> np.uint64(j * bits)) & mask)


@_jit
def _quantize(x, inverse_step, offset, most, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        magnitude = abs(x[i]) * inverse_step + offset
        # A comparison, unlike min, is one instruction for many; to cut off a fraction is the floor of a magnitude.
        symbol = np.int32(magnitude if magnitude < most else most)
        out[i] = -symbol if x[i] < 0 else symbol


@_jit
def _residual(x, inverse_step, offset, most, step):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        magnitude = abs(x[i]) * inverse_step + offset
        symbol = np.int32(magnitude if magnitude < most else most)
        x[i] -= x.dtype.type(-symbol if x[i] < 0 else symbol) * step


@njit(cache=True, nogil=True, boundscheck=False, fastmath={"reassoc"})
def _squared_error(x, inverse_step, offset, most, step):  # type: ignore[no-untyped-def]
    total = np.float64(0)
    for i in range(x.size):
        magnitude = abs(x[i]) * inverse_step + offset
        symbol = np.int32(magnitude if magnitude < most else most)
        error = np.float64(abs(x[i])) - np.float64(x.dtype.type(symbol) * step)
        total += error * error
    return total


@njit(cache=True, nogil=True, boundscheck=False, fastmath={"reassoc"})
def _energy(x):  # type: ignore[no-untyped-def]
    total = np.float64(0)
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@_jit
def _energies(x, lengths, out):  # type: ignore[no-untyped-def]
    start = 0
    for segment in range(lengths.size):
        end = start + lengths[segment]
        out[segment] = _energy(x[start:end])
        start = end


@njit(cache=True, nogil=True, boundscheck=False, fastmath={"reassoc"})
def _add(x, y, out):  # type: ignore[no-untyped-def]
    total = np.float64(0)
    for i in range(out.size):
        element = x[i] + y[i]
        out[i] = element
        total += np.float64(element) * np.float64(element)
    return total


@_jit
def _outside(x, symbols, step, bound):  # type: ignore[no-untyped-def]
    found = np.int64(0)
    for i in range(x.size):
        error = abs(np.float64(x[i]) - np.float64(x.dtype.type(symbols[i]) * step))
        found += np.int64(not error <= bound)
    return found
