"""Floats as integers: without their sign, bit patterns are in order of magnitude."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[Any]
"""Signed integers of the width of the float."""
_FLOATS: dict[torch.dtype, Any] = {torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64}
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits_of(x: Tensor) -> Bits:
    """Return the bit patterns of floats as signed integers, in the tensor's own memory."""
    return x.detach().view(_INTEGERS[x.itemsize]).numpy()


def mask_of(bits: Bits) -> Any:
    """Return all bits but the sign, as a scalar of the same dtype."""
    return _mask(bits.dtype)


@cache
def _mask(dtype: np.dtype[Any]) -> Any:
    return dtype.type(np.iinfo(dtype).max)


@cache
def infinity_of(dtype: torch.dtype) -> int:
    """Return infinity's bit pattern. NaN's are larger and count as that."""
    return int(bits_of(torch.tensor([torch.inf], dtype=dtype))[0])


def bound_of(threshold: float, dtype: torch.dtype) -> Any:
    """Return the bit pattern, a scalar of the integer dtype, of the smallest magnitude of at least ``threshold``."""
    if dtype == torch.bfloat16:
        nearest = torch.tensor([max(threshold, 0.0)], dtype=torch.float64).to(dtype)
        return _next_up(bits_of(nearest)[0], float(nearest) < threshold)
    kind = _FLOATS[dtype]
    with np.errstate(over="ignore"):
        value = kind(max(threshold, 0.0))
    return _next_up(value.view(f"i{value.itemsize}"), float(value) < threshold)


def _next_up(pattern: Any, wanted: bool) -> Any:
    return pattern + type(pattern)(wanted)
