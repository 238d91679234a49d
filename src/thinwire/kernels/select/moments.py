"""Means over the magnitudes of a tensor: what rules that estimate a threshold know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_PART = 1 << 18
"""Elements to sum at a time: float32 sums of millions lose several per cent, and larger parts leave the cache."""


def mean(x: Tensor) -> float:
    """Return the mean of a 1-D float tensor that is not empty; infinity or NaN where a sum overflows."""
    return _mean(x, torch.sum)


def largest_magnitude(x: Tensor) -> float:
    """Return the largest ``|x|`` of a 1-D float tensor that is not empty, without a copy of it; NaN if it holds NaN."""
    low, high = torch.stack([torch.stack(torch.aminmax(part)) for part in _parts(x)]).aminmax(dim=0)
    return max(-float(low[0]), float(high[1]))


def mean_magnitude(x: Tensor) -> float:
    """Return the mean of ``|x|`` over a 1-D float tensor that is not empty; infinity where a sum overflows."""
    return _mean(x, lambda part: torch.linalg.vector_norm(part, 1))


def mean_square(x: Tensor) -> float:
    """Return the mean of ``x**2``; infinity where a sum overflows."""
    return _mean(x, lambda part: torch.dot(part, part))


def mean_log(x: Tensor) -> float:
    """Return the mean of ``ln|x|``, with zeros as the smallest normal number of the working dtype."""
    return _mean(x, lambda part: part.abs().clamp_(min=torch.finfo(part.dtype).tiny).log_().sum())


def _mean(x: Tensor, total: Callable[[Tensor], Tensor]) -> float:
    return float(sum(total(part).double() for part in _parts(x))) / x.numel()


def _parts(x: Tensor) -> Iterator[Tensor]:
    working = torch.float64 if x.dtype == torch.float64 else torch.float32
    return (part.to(working) for part in torch.split(x, _PART))
