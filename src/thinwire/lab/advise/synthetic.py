"""Values that stand for an update where none is at hand: strong rows and columns, much rank, heavy tails.

The figures below make an update that compresses about as well as the hardest of those that we recorded: a character
GPT trained with AdamW.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thinwire.codec import generator
from thinwire.lab.bench.synthetic import laplace, normal

WEIGHTS, CHANGE = 2.0, 0.1
"""Root mean squares, in units of 0.01, of the weights before and of their change."""
SPREAD = 0.3
"""Standard deviation of the logarithm of a row's or a column's scale."""
RANK, ENERGY = 32, 0.85
"""Rank of what all rows share, and its part of the energy; its k-th direction has a share of about 1 / k."""


def update(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return a float32 update of zero mean; the sides of a matrix after the first are its columns.

    It is the difference of two float32 models, as real ones are, and has lost the bits that such a difference loses.
    """
    numel = math.prod(shape)
    change = _unit(laplace(numel, seed))
    if len(shape) > 1 and numel:
        change = _structured(change.view(shape[0], -1), seed)
    before = normal(numel, seed + 5).mul_(WEIGHTS)
    return change.reshape(-1).mul_(CHANGE / 100).add_(before).sub_(before).view(shape)


def _structured(noise: Tensor, seed: int) -> Tensor:
    rows, columns = noise.shape
    left = normal(rows * RANK, seed + 3).view(rows, RANK) * torch.arange(1, RANK + 1).rsqrt()
    shared = _unit(left @ normal(columns * RANK, seed + 4).view(RANK, columns))
    mixed = noise.mul_(math.sqrt(1 - ENERGY)).add_(shared, alpha=math.sqrt(ENERGY))
    return _unit(mixed.mul_(_scale(rows, seed + 1)[:, None]).mul_(_scale(columns, seed + 2)))


def _scale(count: int, seed: int) -> Tensor:
    return torch.randn(count, generator=generator(seed)).mul_(SPREAD).exp_()


def _unit(x: Tensor) -> Tensor:
    rms = float(x.norm()) / math.sqrt(max(x.numel(), 1))
    return x.div_(rms) if rms else x
