"""The same loops compiled by numba for one CPU core. They release the GIL, so tensors can run side by side."""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

_jit = numba.njit(cache=True, nogil=True, boundscheck=False)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Equal ``reference.pack``."""
    out = np.zeros((len(codes) * bits + 7) // 8, np.uint8)
    _pack(codes.to(torch.int32).contiguous().numpy(), bits, out)
    return torch.from_numpy(out)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Equal ``reference.unpack``."""
    out = np.empty(count, np.int32)
    _unpack(packed.contiguous().numpy(), bits, out)
    return torch.from_numpy(out)


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
def _quantize(x, inverse_step, offset, most, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        magnitude = min(np.floor(abs(x[i]) * inverse_step + offset), most)
        out[i] = np.int32(-magnitude if x[i] < 0 else magnitude)
