"""Low rank by power iteration over sums: PowerSGD (Vogels et al. 2019, arXiv:1905.13727)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, generator
from thinwire.errors import WireError
from thinwire.exchange.requests import Average, Exchange, Place, Sum
from thinwire.exchange.sums import refuse_non_finite
from thinwire.kernels.distortion import all_finite
from thinwire.kernels.linalg import orthonormal

_FRESH = 0.01
"""Norm of the noise in a column of the start, whose past has norm 1: directions that the past had nothing in enter."""


def power(codec: Codec, x: Tensor, place: Place, seed: int, history: State) -> Exchange:
    """Average a matrix (first dimension by all others) as ``P @ Q.T`` of the codec's rank, by two sums of thin factors.

    P is an orthonormal basis of the sum of ``M @ Q``, with Q from the last call (``history["right"]``, the same on all
    ranks, as ``seed`` is); the new Q is the mean of ``M.T @ P``. So ``contributed`` is a rank's projection, its mean is
    exactly the mean, and an all-zero M gives zero. The factors travel in the working dtype: the codec's bits are not
    used. Ranks on one kind of machine get the same bits. Raises NonFiniteError, and WireError where a sum overflows.
    """
    refuse_non_finite(codec, x)
    spec = Spec.of(x)
    matrix = x.detach().to(spec.working).reshape(spec.shape[0], -1)
    start = _start(matrix, codec.sketch_rank(spec), seed, history.get("right"))
    left = yield Sum((matrix @ start.div_(place.world),))
    basis = orthonormal(_finite(left[0]).double()).to(spec.working)
    right = matrix.T @ basis
    mean = yield Sum((right / place.world,))
    product = basis @ _finite(mean[0]).T
    return Average(product.view(spec.shape), (basis @ right.T).view(spec.shape), {"right": mean[0].clone()})


def _start(matrix: Tensor, rank: int, seed: int, past: Tensor | None) -> Tensor:
    """Return the first Q (n, rank) with columns of norm about 1, so that squares neither overflow nor vanish."""
    n = matrix.shape[1]
    noise = torch.randn(n, rank, generator=generator(seed), dtype=torch.float64).div_(math.sqrt(n))
    if past is None or past.shape != noise.shape or not all_finite(past):
        return noise.to(matrix)
    columns = torch.nn.functional.normalize(past.double(), dim=0, eps=1e-300)
    return (columns + noise * _FRESH).to(matrix)


def _finite(total: Tensor) -> Tensor:
    if not all_finite(total):
        raise WireError("a sum over ranks is not finite: a rank sent NaN or infinity, or numbers whose sum overflows")
    return total
