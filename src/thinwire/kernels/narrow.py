"""Floats into a narrower dtype without making infinities of finite values."""

from __future__ import annotations

import torch
from torch import Tensor


def saturate(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a float tensor in another float dtype: what lies beyond its range becomes its largest finite value.

    Infinities and NaN stay what they are: they are for the caller to refuse.
    """
    most = torch.finfo(dtype).max
    if torch.finfo(x.dtype).max <= most:
        return x.to(dtype)
    # Seldom does anything lie beyond, and to see that takes one sweep instead of three; on a device it would wait.
    if x.device.type == "cpu" and x.numel():
        low, high = map(float, x.aminmax())
        if -most <= low and high <= most:
            return x.to(dtype)
    # bfloat16 cannot hold float16's maximum: clamping there would round up, out of range again.
    wide = x.float() if x.dtype == torch.bfloat16 else x
    return torch.where(wide.isinf(), wide, wide.clamp(-most, most)).to(dtype)
