"""Tensors drawn from a distribution: what real gradients are often taken to be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from thinwire.codec import generator

SCALE = 0.01
DEGREES = 3


def laplace(numel: int, seed: int) -> Tensor:
    """Return float32 samples of scale 0.01: the difference of two exponential variables."""
    random = generator(seed)
    left, right = (torch.empty(numel).exponential_(generator=random) for _ in range(2))
    return left.sub_(right).mul_(SCALE)


def normal(numel: int, seed: int) -> Tensor:
    """Return float32 samples of standard deviation 0.01."""
    return torch.randn(numel, generator=generator(seed)).mul_(SCALE)


def student_t(numel: int, seed: int) -> Tensor:
    """Return float32 samples of Student's t with three degrees of freedom, scale 0.01: a heavy tail."""
    random = generator(seed)
    squares = torch.zeros(numel)
    for _ in range(DEGREES):
        squares.add_(torch.randn(numel, generator=random).square_())
    return torch.randn(numel, generator=random).mul_(SCALE).div_(squares.div_(DEGREES).sqrt_())


DISTRIBUTIONS: dict[str, Callable[[int, int], Tensor]] = {
    "laplace": laplace,
    "normal": normal,
    "student-t3": student_t,
}
