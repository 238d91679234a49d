"""Low rank by power iteration over sums: PowerSGD (Vogels et al. 2019, arXiv:1905.13727)."""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, generator
from thinwire.errors import WireError
from thinwire.exchange.requests import Average, Exchange, Place, Request, Sum
from thinwire.exchange.sums import refuse_non_finite
from thinwire.kernels.distortion import all_finite
from thinwire.kernels.linalg import orthonormal

_FRESH = 0.01
"""Norm of the noise in a column of the start, whose past has norm 1: directions that the past had nothing in enter."""
_FAR = 2.0**40
"""What a matrix is divided by where products with it overflow: more than the root of any dimension."""


def power(codec: Codec, x: Tensor, place: Place, seed: int, history: State, squares: float | None = None) -> Exchange:
    """Average a matrix (first dimension by all others) as ``P @ Q.T`` of the codec's rank, by two sums of thin factors.

    P is an orthonormal basis of the sum of ``M @ Q``, with Q from the last call (``history["right"]``, the same on all
    ranks, as ``seed`` is); the new Q is the mean of ``M.T @ P``. So ``contributed`` is a rank's projection, its mean is
    exactly the mean, and an all-zero M gives zero. The factors travel in the working dtype: the codec's bits are not
    used. Ranks on one kind of machine get the same bits. Where products overflow, all ranks see it in the sums, and do
    it once more with smaller numbers. Raises NonFiniteError, and WireError where a sum is not finite all the same.
    """
    refuse_non_finite(codec, x, squares)
    spec = Spec.of(x)
    matrix = x.detach().to(spec.working).reshape(spec.shape[0], -1)
    start = _start(matrix, codec.sketch_rank(spec), seed, history.get("right"))
    start.div_(place.world)
    for unit in (1.0, _FAR):
        factors = yield from _factors(matrix / unit if unit != 1.0 else matrix, start, place)
        if factors is not None:
            average = _average(*factors, spec, unit)
            return average if unit == 1.0 and _sums_fit(factors[1]) else _within(x, average)
    raise WireError("a sum over ranks is not finite: a rank sent NaN or infinity")


def _factors(
    matrix: Tensor, start: Tensor, place: Place
) -> Generator[Request, list[Tensor], tuple[Tensor, Tensor, Tensor] | None]:
    """Return the basis, a rank's own right factor and the mean of all; None, on all ranks, where numbers overflow."""
    left = yield Sum((matrix @ start,))
    if not all_finite(left[0]):
        return None
    basis = orthonormal(left[0].double()).to(matrix)
    right = matrix.T @ basis
    mean = yield Sum((right / place.world,))
    return (basis, right, mean[0].clone()) if _sums_fit(mean[0]) else None


def _sums_fit(right: Tensor) -> bool:
    """Return whether no product of a basis with this factor overflows."""
    return all_finite(right * right.shape[1])


def _average(basis: Tensor, right: Tensor, mean: Tensor, spec: Spec, unit: float = 1.0) -> Average:
    products = [(basis @ factor.T).view(spec.shape) for factor in (mean, right)]
    whole, sent = (product.mul_(unit) if unit != 1.0 else product for product in products)
    return Average(whole, sent, {"right": mean})


def _within(x: Tensor, average: Average) -> Average:
    """Return the average kept within what floats can hold, and so that ``x - contributed`` is."""
    most = torch.finfo(average.mean.dtype).max
    wide = x.detach().to(average.mean)
    mean, contributed = average.mean.clamp(-most, most), average.contributed.clamp(-most, most)
    return Average(mean, contributed.clamp(wide - most, wide + most), average.history)


def _start(matrix: Tensor, rank: int, seed: int, past: Tensor | None) -> Tensor:
    """Return the first Q (n, rank) with columns of norm about 1, so that squares neither overflow nor vanish."""
    n = matrix.shape[1]
    noise = torch.randn(n, rank, generator=generator(seed), dtype=torch.float64).div_(math.sqrt(n))
    if past is None or past.shape != noise.shape or not all_finite(past):
        return noise.to(matrix)
    columns = torch.nn.functional.normalize(past.double(), dim=0, eps=1e-300)
    return (columns + noise * _FRESH).to(matrix)
