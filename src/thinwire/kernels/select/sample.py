"""A sample of a tensor's magnitudes, to estimate a threshold from."""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
"""Multiples of it, modulo 2**64, scatter; as a signed number."""


def spread(x: Tensor, count: int) -> Tensor:
    """Return the magnitudes of at least ``count`` elements of a 1-D tensor, of all where it has no twice as many.

    One from each of as many equal parts, at a scattered place: a fixed stride would meet the same column of a matrix
    again and again.
    """
    stride = x.numel() // max(count, 1)
    if stride <= 1:
        return x.abs()
    part = torch.arange(x.numel() // stride, device=x.device)
    scatter = part * _GOLDEN >> 33 & 0x3FFFFFFF
    return x.index_select(0, part * stride + scatter % stride).abs_()
