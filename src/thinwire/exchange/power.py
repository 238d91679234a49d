"""Low rank by power iteration over sums: PowerSGD (Vogels et al. 2019, arXiv:1905.13727)."""

from __future__ import annotations

import math
from collections.abc import Generator
from functools import lru_cache

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, generator
from thinwire.errors import WireError
from thinwire.exchange.product import Product
from thinwire.exchange.requests import Average, Exchange, Place, Request, Sum
from thinwire.exchange.sums import refuse_non_finite
from thinwire.kernels.distortion import all_finite, largest
from thinwire.kernels.linalg import orthonormal_rows

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
    start = _start(matrix.shape[1], codec.sketch_rank(spec), seed, history.get("right"), place.world).to(matrix)
    for unit in (1.0, _FAR):
        factors = yield from _factors(matrix / unit if unit != 1.0 else matrix, start, place)
        if factors is not None:
            return _average(x, *factors, unit)
    raise WireError("a sum over ranks is not finite: a rank sent NaN or infinity")


def _factors(
    matrix: Tensor, start: Tensor, place: Place
) -> Generator[Request, list[Tensor], tuple[Tensor, Tensor, Tensor] | None]:
    """Return the basis, a rank's own right factor and the mean of all; None, on all ranks, where numbers overflow.

    They are rows, as ``start`` is: long ones are what a BLAS multiplies fast.
    """
    left = yield Sum((matrix @ start.T,))
    if not all_finite(left[0]):
        return None
    basis = orthonormal_rows(left[0])
    right = basis @ matrix
    mean = yield Sum((right / place.world,))
    return (basis, right, mean[0].clone()) if _products_fit(mean[0]) else None


def _products_fit(right: Tensor) -> bool:
    """Return whether no product of a basis with this factor overflows."""
    return largest(right) * len(right) < torch.finfo(right.dtype).max


def _average(x: Tensor, basis: Tensor, right: Tensor, mean: Tensor, unit: float) -> Average:
    spec = Spec(tuple(x.shape), mean.dtype)
    whole, sent, history = Product(spec, basis, mean), Product(spec, basis, right), {"right": mean.T}
    if unit == 1.0 and _products_fit(right):
        return Average(whole, sent.encoded(), history)
    most, wide = torch.finfo(mean.dtype).max, x.detach().to(mean)
    # Within what floats can hold, and so that what is left of x is.
    contributed = sent.dense().mul_(unit).clamp_(-most, most).clamp_(wide - most, wide + most)
    return Average(whole.dense().mul_(unit).clamp_(-most, most), contributed, history)


def _start(n: int, rank: int, seed: int, past: Tensor | None, world: int) -> Tensor:
    """Return the first Q over ``world`` as float64 rows (rank, n): divided by it, sums of products overflow no sooner.

    The columns of Q have a norm of about 1, so that squares neither overflow nor vanish.
    """
    if past is not None and past.shape == (n, rank):
        # As rows in memory, too, be it a saved one or not: the bits of sums depend on it.
        columns = past.T.contiguous().double()
        norms = torch.linalg.vector_norm(columns, dim=1, keepdim=True)
        if all_finite(norms):
            # The noise may be the same in every step: nothing in a gradient is orthogonal to it but by chance.
            start: Tensor = (columns / norms.clamp_min_(1e-300).mul_(world)).add_(_noise(rank, n), alpha=_FRESH / world)
            return start
    return _drawn(rank, n, seed).div_(world)


@lru_cache(maxsize=64)
def _noise(rank: int, n: int) -> Tensor:
    return _drawn(rank, n, 0)


def _drawn(rank: int, n: int, seed: int) -> Tensor:
    return torch.randn(rank, n, generator=generator(seed), dtype=torch.float64).div_(math.sqrt(n))
