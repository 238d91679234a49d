"""New tensors whose memory is cheap to touch for the first time.

A large tensor fresh from torch comes in pages of 4 KiB, and the faults of its first writing cost more than the writing.
numpy asks the operating system for huge pages.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_LARGE_BYTES = 1 << 22


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Return a contiguous tensor of undefined values."""
    nbytes = math.prod(shape) * dtype.itemsize
    if torch.device(device).type != "cpu" or nbytes < _LARGE_BYTES:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(nbytes, np.uint8)).view(dtype).view(shape)


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a contiguous CPU tensor of zeros."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _LARGE_BYTES:
        return torch.zeros(shape, dtype=dtype)
    return torch.from_numpy(np.zeros(nbytes, np.uint8)).view(dtype).view(shape)
