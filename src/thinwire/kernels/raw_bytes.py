"""A tensor's bytes as they lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def raw_bytes(x: Tensor) -> Tensor:
    """Return the bytes of a tensor in row-major order: uint8, 1-D, on the CPU, sharing memory where possible."""
    flat = x.detach().cpu().contiguous()
    # A tensor of one element counts as contiguous whatever its stride, but only stride 1 can be viewed as bytes.
    return flat.as_strided((flat.numel(),), (1,)).view(torch.uint8)
