"""Selection in plain torch, on any device: obvious, and the truth that the compiled kernels must equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def largest(x: Tensor, k: int) -> Tensor:
    """Return the indices (int64, ascending) of all above the k-th magnitude, and of the first of those equal to it."""
    if k == 0:
        return torch.zeros(0, dtype=torch.int64, device=x.device)
    magnitude = magnitudes(x)
    kth = magnitude.topk(k).values[-1]
    chosen = magnitude > kth
    ties = (magnitude == kth).nonzero().view(-1)
    chosen[ties[: k - int(chosen.sum())]] = True
    return chosen.nonzero().view(-1)


def largest_of_each(x: Tensor, lengths: Sequence[int], counts: Sequence[int]) -> list[Tensor]:
    """Return ``largest`` of each segment, by indices of its own."""
    return [largest(part, k) for part, k in zip(torch.split(x, list(lengths)), counts, strict=True)]


def accumulate_largest(residual: Tensor, x: Tensor, k: int) -> Tensor:
    """Add, then select."""
    return largest(residual.add_(x), k)


def at_least(x: Tensor, threshold: float) -> Tensor:
    """Return the indices (int64, ascending) of ``|x| >= threshold``."""
    return (magnitudes(x) >= threshold).nonzero().view(-1)


def count_at_least(x: Tensor, threshold: float) -> int:
    """Return how many ``|x| >= threshold``."""
    return int((magnitudes(x) >= threshold).sum())


def take_out(x: Tensor, indices: Tensor) -> Tensor:
    """Read, then set to zero."""
    values = x[indices]
    x[indices] = 0
    return values


def magnitudes(x: Tensor) -> Tensor:
    """Return ``|x|`` in float64: comparing there with any threshold is exact."""
    return x.double().abs().nan_to_num_(nan=torch.inf, posinf=torch.inf)
