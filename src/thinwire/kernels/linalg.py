"""Low-rank factors of a matrix: exact or from a randomized sketch, and quantized to small integers."""

from __future__ import annotations

import math
from operator import mul

import torch
from torch import Tensor

from thinwire.kernels.matrix import Matrix

Factors = tuple[Tensor, Tensor]
"""left (m, k) and right (n, k), strongest component first; component i has norm sqrt(s_i) on either side."""

_RIDGE = 1e-12
_REFITS = 2
_FEW = 4
_DEPENDENT = 1e-9
"""The share of a vector's square that earlier ones must leave of it: the basis is then orthonormal to 1e-7."""
_LEAST = 2.0**-900
"""Sums of squares above it have lost nothing to underflow."""


def exact_factors(y: Matrix) -> Factors:
    """Return all min(m, n) components of a matrix (m, n).

    From the eigenvectors of the smaller Gram matrix, in half the time of an SVD or less. That loses singular values
    under 1e-8 of the largest, which factors of 12 bits could not carry anyway.
    """
    wide, basis = y.shape[0] <= y.shape[1], _eigenvectors(y.gram())
    near, far = _balanced(basis, y.transposed_times(basis) if wide else y.times(basis))
    return (near, far) if wide else (far, near)


def singular_values(y: Matrix) -> Tensor:
    """Return the singular values that ``exact_factors`` would find, descending."""
    values: Tensor
    gram = y.gram()
    try:
        values = torch.linalg.eigvalsh(gram)
    except RuntimeError:  # it did not converge
        values = torch.linalg.svdvals(gram).flip(0)
    return values.clamp_min(0.0).sqrt().flip(0)


def range_factors(y: Matrix, start: Tensor, iterations: int) -> Factors:
    """Return as many components of a matrix (m, n) as the float64 sketch ``start`` (n, k) has columns, k <= min(m, n).

    The randomized range finder with power iterations of Halko, Martinsson and Tropp 2011 (arXiv:0909.4061, algorithm
    4.4). From the previous step's right factor, one iteration is a step of PowerSGD (Vogels et al. 2019,
    arXiv:1905.13727).
    """
    basis = orthonormal(y.times(start))
    for _ in range(iterations):
        basis = orthonormal(y.times(orthonormal(y.transposed_times(basis))))
    inner = y.transposed_times(basis)
    turn = _eigenvectors(inner.T @ inner)
    return _balanced(basis @ turn, inner @ turn)


def orthonormal(y: Tensor) -> Tensor:
    """Return orthonormal columns (m, k) that span the columns of y (m, k), m >= k; any where y has fewer directions."""
    basis: Tensor = torch.linalg.qr(y)[0]
    return basis


def orthonormal_rows(y: Tensor) -> Tensor:
    """Return what ``orthonormal`` does of y (m, k), as the rows of a contiguous (k, m) of y's dtype.

    A few columns that are far from dependent are orthogonalized through their inner products, in a fraction of the time
    of a QR decomposition.
    """
    wide = y.double()
    rows = _inverse_root((wide.T @ wide).tolist()) if y.shape[1] <= _FEW else None
    basis = orthonormal(wide).T if rows is None else torch.tensor(rows, dtype=wide.dtype, device=y.device) @ wide.T
    return basis.to(y.dtype, memory_format=torch.contiguous_format)


def _inverse_root(gram: list[list[float]]) -> list[list[float]] | None:
    """Return L^-1 of ``gram = L @ L.T``, L lower triangular; None where it is nearly singular, or not finite.

    Gram and Schmidt's orthogonalization, in the inner products of the vectors instead of the vectors.
    """
    rows: list[list[float]] = []
    for i, products in enumerate(gram):
        row = [float(i == j) for j in range(len(gram))]
        for done in rows:
            share = sum(map(mul, done, products))
            row = [a - share * b for a, b in zip(row, done, strict=True)]
        square = sum(a * sum(map(mul, row, column)) for a, column in zip(row, gram, strict=True))
        if not max(products[i] * _DEPENDENT, _LEAST) < square < math.inf:
            return None
        rows.append([a / math.sqrt(square) for a in row])
    return rows


def leading(factors: Factors, rank: int) -> Factors:
    """Return the first ``rank`` components."""
    return factors[0][:, :rank], factors[1][:, :rank]


def largest(left: Tensor, right: Tensor) -> float:
    """Return the largest magnitude of either factor."""
    return max(float(left.abs().max()), float(right.abs().max()))


def quantize_factors(y: Matrix, factors: Factors, unit: float, level: float) -> Factors:
    """Return integer-valued factors, at most ``round(level)``, whose product times ``unit`` is near y (m, n).

    Each side is fitted anew to the other side's integers, so that it makes up for their rounding. All zeros for unit 0.
    """
    unit = unit or math.inf
    left, right = ((factor / math.sqrt(unit)).round() for factor in factors)
    for _ in range(_REFITS):
        right = _regress(y.transposed_times(left), left).div(unit).clamp_(-level, level).round_()
        left = _regress(y.times(right), right).div(unit).clamp_(-level, level).round_()
    return left, right


def strengths(factors: Factors) -> Tensor:
    """Return the singular values: the squared column norms of either factor."""
    return factors[0].square().sum(0)


def missing(strengths: Tensor, y: Matrix) -> float:
    """Return the share of y's energy that components of these strengths leave out: their NMSE."""
    return max(1.0 - float(strengths.square().sum()) / y.energy, 0.0)


def cheapest_rank(strengths: Tensor, y: Matrix, bound: float) -> tuple[int, float, float]:
    """Return (rank, step, bits) of the fewest entropy-coded bits whose NMSE is at most ``bound``, by a model to verify.

    Rounding adds ``step**2 / 12`` to every coefficient of either factor, which the other side's norm sqrt(s_i)
    multiplies; a coefficient of variance v takes ``log2(1 + 2 pi e v / step**2) / 2`` bits. Bits are infinite where no
    rank is enough.
    """
    (m, n), energy = y.shape, y.energy
    left_over = bound * energy - (energy - strengths.square().cumsum(0)).clamp_min(0.0)
    squared_steps = 12.0 * left_over / ((m + n) * strengths.cumsum(0))
    variances = strengths / squared_steps.clamp_min(1e-300)[:, None]
    bits = (m * _entropy(variances / m) + n * _entropy(variances / n)).tril().sum(1)
    bits[left_over <= 0] = math.inf
    best = int(bits.argmin())
    return best + 1, math.sqrt(max(float(squared_steps[best]), 0.0)), float(bits[best])


def _entropy(variances: Tensor) -> Tensor:
    return torch.log2(variances * (2.0 * math.pi * math.e) + 1.0).div(2.0)


def _regress(products: Tensor, factor: Tensor) -> Tensor:
    """Return the (n, k) for which ``factor @ it.T`` is nearest to y, given ``products = y.T @ factor``.

    Columns of zeros get zeros.
    """
    gram = factor.T @ factor
    gram.diagonal().add_(_RIDGE * gram.max().clamp_min(1.0))
    coefficients: Tensor = torch.linalg.solve(gram, products.T)
    return coefficients.T


def _eigenvectors(gram: Tensor) -> Tensor:
    """Return orthonormal eigenvectors of a positive semidefinite matrix as columns, largest eigenvalue first."""
    basis: Tensor
    try:
        basis = torch.linalg.eigh(gram)[1].flip(1)
    except RuntimeError:  # it did not converge
        basis = torch.linalg.svd(gram)[0]
    return basis


def _balanced(basis: Tensor, coefficients: Tensor) -> Factors:
    root = coefficients.norm(dim=0).sqrt()
    return basis * root, coefficients / root.clamp_min(1e-150)
