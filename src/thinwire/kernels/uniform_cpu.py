"""The loops of ``uniform`` for float32, compiled by numba for one CPU core, in one sweep. They release the GIL."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels.jit import njit

_jit = njit(cache=True, nogil=True, boundscheck=False)
_INTEGER = np.float32(3 << 22)
"""Added to a float32 below 2**22 and taken away again, this rounds it half to even: faster than any call."""


def nearest(flat: Tensor, low: Tensor | None, step: Tensor, width: int, least: int, most: int) -> Tensor:
    """Equal ``uniform.plain_nearest``."""
    out = np.empty(len(flat), np.uint8 if most - least < 256 else np.int32)
    lows, steps = _numbers(low, step)
    _nearest(flat.numpy(), lows, steps, width, np.float32(least), np.float32(most), out)
    return torch.from_numpy(out)


def values(codes: Tensor, low: Tensor | None, step: Tensor, least: int, width: int, out: Tensor) -> None:
    """Equal ``uniform.plain_values``."""
    steps, numbers = step.reshape(-1).numpy(), codes.numpy()
    if low is None:
        _scaled(numbers, steps, np.float32(least), width, out.numpy())
    else:
        _values(numbers, low.reshape(-1).numpy(), steps, np.float32(least), width, out.numpy())


def nearest_of_segments(x: Tensor, ends: Tensor, low: Tensor | None, step: Tensor, least: int, most: int) -> Tensor:
    """Equal ``uniform.plain_nearest`` of each segment."""
    out = np.empty(x.numel(), np.uint8 if most - least < 256 else np.int32)
    lows, steps = _numbers(low, step)
    _segments_nearest(x.numpy(), ends.numpy(), lows, steps, np.float32(least), np.float32(most), out)
    return torch.from_numpy(out)


def values_of_segments(codes: Tensor, ends: Tensor, low: Tensor | None, step: Tensor, least: int, out: Tensor) -> None:
    """Equal ``uniform.plain_values`` of each segment."""
    lows, steps = _numbers(low, step)
    if low is None:
        _segments_scaled(codes.numpy(), ends.numpy(), steps, np.float32(least), out.numpy())
    else:
        _segments_values(codes.numpy(), ends.numpy(), lows, steps, np.float32(least), out.numpy())


def _numbers(low: Tensor | None, step: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return (torch.zeros_like(step) if low is None else low).reshape(-1).numpy(), step.reshape(-1).numpy()


# Views from 0 on, because an index that may be negative keeps a loop from becoming vector instructions.


@_jit
def _nearest(x, lows, steps, width, least, most, out):  # type: ignore[no-untyped-def]
    for group in range(steps.size):
        start, end = group * width, min((group + 1) * width, x.size)
        _nearest_of(x[start:end], lows[group], steps[group], least, most, out[start:end])


@_jit
def _nearest_of(x, low, step, least, most, out):  # type: ignore[no-untyped-def]
    divisor = step if step > 0 else np.float32(1)
    factor = np.float32(1) if step > 0 else np.float32(0)
    for i in range(x.size):
        position = (x[i] - low) / divisor * factor
        # Cut off first: that is the same, and within what can be rounded by adding.
        position = position if position > least else least
        position = position if position < most else most
        out[i] = np.int32((position + _INTEGER) - _INTEGER - least)


@_jit
def _values(codes, lows, steps, least, width, out):  # type: ignore[no-untyped-def]
    for group in range(steps.size):
        start, end = group * width, min((group + 1) * width, out.size)
        _values_of(codes[start:end], lows[group], steps[group], least, out[start:end])


@_jit
def _values_of(codes, low, step, least, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = (np.float32(codes[i]) + least) * step + low


@_jit
def _scaled(codes, steps, least, width, out):  # type: ignore[no-untyped-def]
    for group in range(steps.size):
        start, end = group * width, min((group + 1) * width, out.size)
        _scaled_of(codes[start:end], steps[group], least, out[start:end])


@_jit
def _scaled_of(codes, step, least, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = (np.float32(codes[i]) + least) * step


@_jit
def _segments_nearest(x, ends, lows, steps, least, most, out):  # type: ignore[no-untyped-def]
    start = 0
    for at, end in enumerate(ends):
        _nearest_of(x[start:end], lows[at], steps[at], least, most, out[start:end])
        start = end


@_jit
def _segments_values(codes, ends, lows, steps, least, out):  # type: ignore[no-untyped-def]
    start = 0
    for at, end in enumerate(ends):
        _values_of(codes[start:end], lows[at], steps[at], least, out[start:end])
        start = end


@_jit
def _segments_scaled(codes, ends, steps, least, out):  # type: ignore[no-untyped-def]
    start = 0
    for at, end in enumerate(ends):
        _scaled_of(codes[start:end], steps[at], least, out[start:end])
        start = end
