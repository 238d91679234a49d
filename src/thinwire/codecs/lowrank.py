"""Low rank: a matrix as the product of two thin matrices of small integers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, generator
from thinwire.errors import WireError
from thinwire.kernels import linalg
from thinwire.kernels.linalg import Factors
from thinwire.kernels.matrix import Matrix
from thinwire.registry import child, parse

_MOST_BITS = 12
_MOST_LEVEL = 2 ** (_MOST_BITS - 1) - 1
_MOST_RANK = 1 << 13
"""Sums of so many products of levels stay far below 2**53, and decoding takes so many steps an element at most."""
_FEW_RANKS = 16
"""Up to this rank, factors may hold more elements than the matrix: few bits each make up for it where it is small."""
_EXACT_SIDE = 512
_REACHES = (56, 120, 248)
_BLUR = 2.0
_TRIALS = 8
_ROWS = 256
"""Rows decoded at a time: the float64 product is never whole in memory."""
_SAFE = 1.0 - 1e-6


@dataclass(frozen=True)
class LowRank(Codec, id="lowrank", tag=24):
    """Truncated SVD with quantized factors: updates are often of low rank even where few elements are small.

    A tensor of two or more dimensions is a matrix: first dimension (output channels) by all the others. At most one of
    ``rank``; ``ratio`` (rank ``ceil(ratio * min(m, n))``); ``nmse`` (0.01 if none is given): the rank and the bits of
    the fewest bytes within that error, verified on the decoded tensor. Other tensors, and those that low rank would not
    make smaller, go ``Raw``, or with ``nmse`` to ``Step`` under the same bound.

    ``bits`` (2 to 12, need not be whole; 8 unless ``nmse`` chooses): factors are integers up to ``2**(bits - 1) - 1``.
    ``method``: ``svd`` is exact; ``range`` sketches the range and starts from what the last call found, as PowerSGD
    does (Vogels et al. 2019, arXiv:1905.13727); ``auto`` sketches afresh where the rank is small against the matrix,
    else it is ``svd``. Where both sides exceed 512, ``nmse`` considers the first 256 components, unless ``method`` is
    ``svd``.
    """

    rank: int | None = None
    ratio: float | None = None
    nmse: float | None = None
    bits: float | None = None
    method: Literal["auto", "svd", "range"] = "auto"
    left: Codec = child("Symbols()")
    right: Codec = child("Symbols()")

    sized = True
    knob = "nmse"
    local = False

    def __post_init__(self) -> None:
        goals = [name for name in ("rank", "ratio", "nmse") if getattr(self, name) is not None]
        if len(goals) > 1:
            raise ValueError(f"LowRank: give one of rank, ratio and nmse, not {' and '.join(goals)}")
        if not goals:
            object.__setattr__(self, "nmse", 0.01)
        if self.rank is not None and not (type(self.rank) is int and self.rank >= 1):
            raise ValueError(f"LowRank: rank is {self.rank!r}, expected an integer from 1")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise ValueError(f"LowRank: ratio is {self.ratio!r}, expected 0 < ratio <= 1")
        if self.nmse is not None and not 0 <= self.nmse < 1:
            raise ValueError(f"LowRank: nmse is {self.nmse!r}, expected 0 <= nmse < 1 (1 is sending nothing)")
        if self.bits is not None and not 2 <= self.bits <= _MOST_BITS:
            raise ValueError(f"LowRank: bits is {self.bits!r}, expected 2 to {_MOST_BITS}")
        if self.method not in ("auto", "svd", "range"):
            raise ValueError(f"LowRank: method is {self.method!r}, expected 'auto', 'svd' or 'range'")
        if self.nmse is not None and (self.bits is not None or self.method == "range"):
            # What a warm start finds depends on the past: what `fit` verified would not be what is sent.
            raise ValueError("LowRank: nmse chooses the bits, and its method is 'auto' or 'svd'; leave both out")

    def fit(self, x: Tensor, seed: int) -> Codec:
        """Return the codec with its rank and bits, or the codec to which this tensor goes instead."""
        if x.dim() < 2 or not x.numel():
            return self._instead(x, seed)
        if self.nmse is None:
            return self._with_rank(Spec.of(x)) or self._instead(x, seed)
        return self._within(self.nmse, x, seed) or self._instead(x, seed)

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"left": int32 (m, r), "right": int32 (n, r), "scale": (1,)}``; ``range`` remembers ``right``."""
        assert self.rank is not None
        y = _matrix(x)
        columns = self._columns(self.rank, y)
        warm = self.method == "range" and columns < min(y.shape)
        factors = _components(y, columns, seed, history.get("right") if warm else None)
        return self._parts(x, y, factors), {"right": factors[1].to(Spec.of(x).working)} if warm else {}

    def size(self, parts: Mapping[str, Tensor]) -> int:
        """Return the rank."""
        return parts["left"].shape[1]

    def sketch_rank(self, spec: Spec) -> int:
        """Return the rank that ``rank`` or ``ratio`` asks for, at most that of the matrix."""
        m, n = _matrix_shape(spec)
        # 0.07 * 100 is 7.000000000000001, which must not become rank 8.
        wanted = self.rank or max(1, math.ceil((self.ratio or 0.0) * min(m, n) - 1e-9))
        return min(wanted, m, n) if self.nmse is None else 0

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return both factors and the scale."""
        m, n = _matrix_shape(spec)
        if not spec.dtype.is_floating_point:
            raise WireError(f"lowrank: the schema says {spec.dtype}, expected a float")
        if not 1 <= size <= _most_rank(m, n):
            raise WireError(f"lowrank: rank {size} for a matrix of {m} x {n}, expected 1 to {_most_rank(m, n)}")
        return {
            "left": Spec((m, size), torch.int32),
            "right": Spec((n, size), torch.int32),
            "scale": Spec((1,), spec.working),
        }

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``left @ right.T * scale``: an exact sum of integers, then one float64 multiply. It saturates."""
        out = torch.empty(_matrix_shape(spec), dtype=spec.dtype)
        for at, rows in _decoded_rows(parts, spec):
            out[at : at + len(rows)] = rows
        return out.reshape(spec.shape)

    def residual_(self, target: Tensor, encoded: Encoded) -> None:
        """Subtract what was sent, some rows at a time."""
        out = target.view(_matrix_shape(encoded.spec))
        for at, rows in _decoded_rows({name: encoded.known_part(name) for name in encoded.parts}, encoded.spec):
            out[at : at + len(rows)] -= rows.to(out)

    def _with_rank(self, spec: Spec) -> Codec | None:
        m, n = _matrix_shape(spec)
        rank, bits = self.sketch_rank(spec), self.bits or 8
        smaller = rank <= _most_rank(m, n) and rank * (m + n) * bits / 8 < spec.nbytes
        return replace(self, rank=rank, ratio=None, bits=bits) if smaller else None

    def _within(self, bound: float, x: Tensor, seed: int) -> Codec | None:
        y = _matrix(x)
        if y.energy == 0.0:
            return replace(self, rank=1, nmse=None, bits=8)
        if bound == 0.0:
            return None
        rank, step, bits = linalg.cheapest_rank(self._spectrum(y, bound, seed), y, bound)
        if rank > _most_rank(*y.shape):
            return None
        # No source takes an entropy-coded quantizer more bits than a Gaussian of its variance, under one error.
        if bits > min(x.numel() * (0.25 - math.log2(bound) / 2), 8 * Spec.of(x).nbytes):
            return None
        factors = linalg.leading(_components(y, self._columns(rank, y), seed, None), rank)
        codec = replace(self, rank=rank, nmse=None, bits=8)
        return codec._verified(x, y, factors, bound, linalg.largest(*factors) / step)

    def _spectrum(self, y: Matrix, bound: float, seed: int) -> Tensor:
        """Return the singular values; of a large y, enough for ``bound`` or as many as are worth a sketch."""
        if self.method == "svd" or min(y.shape) <= _EXACT_SIDE:
            return linalg.singular_values(y)
        for reach in _REACHES:
            strengths = linalg.strengths(_components(y, self._columns(reach, y), seed, None))
            missing = linalg.missing(strengths, y)
            # No later component is stronger than the weakest of these, but for what the sketch blurs.
            more = (_REACHES[-1] - reach) * _BLUR * float(strengths.min().square()) / y.energy
            if missing <= bound / 2 or missing - more > bound:
                break
        return strengths

    def _verified(self, x: Tensor, y: Matrix, factors: Factors, bound: float, level: float) -> Codec | None:
        """Return the codec of the fewest bits that decodes to within ``bound``, from a first guess of the level."""
        cut, best, fewest = linalg.missing(linalg.strengths(factors), y), None, math.inf
        for _ in range(_TRIALS):
            level = min(max(level, 1.0), _MOST_LEVEL)
            bits = round(math.log2(level + 1.0) + 1.0, 3)
            codec = replace(self, bits=bits)
            error = y.nmse(_decoded_rows(codec._parts(x, y, factors), Spec.of(x)))
            if error <= bound * _SAFE and bits < fewest:
                best, fewest = codec, bits
            if 0.97 * bound <= error <= bound * _SAFE or (error > bound and level == _MOST_LEVEL):
                break
            # Rounding's share of the error goes with the square of the step.
            excess = max(error - cut, 0.0) / max(0.99 * bound - cut, 1e-3 * bound)
            level *= min(max(math.sqrt(excess), 0.5), 2.0)
        return best

    def _instead(self, x: Tensor, seed: int) -> Codec:
        if self.nmse is None:
            return parse("Raw()")  # type: ignore[no-any-return]
        other: Codec = parse(f"Step(nmse={self.nmse!r})" if self.nmse else "Planes()")
        return other.fit(x, seed)

    def _columns(self, rank: int, y: Matrix) -> int:
        """Return how many components to compute: all of them is the exact way."""
        side, sketch = min(y.shape), 16 * math.ceil((rank + 8) / 16)
        exact = self.method == "svd" or (self.method == "auto" and 4 * sketch >= side)
        return side if exact else min(sketch, side)

    def _parts(self, x: Tensor, y: Matrix, factors: Factors) -> dict[str, Tensor]:
        assert self.rank is not None
        level = 2.0 ** ((self.bits or 8) - 1.0) - 1.0
        working = Spec.of(x).working
        leading = linalg.leading(factors, self.rank)
        step = linalg.largest(*leading) / level
        scale = torch.tensor([min(y.peak * step * step, torch.finfo(working).max)], dtype=working, device=x.device)
        # The unit of the rounded scale: the integers then make up for its rounding too.
        left, right = linalg.quantize_factors(y, leading, float(scale) / y.peak, level)
        return {"left": left.to(torch.int32), "right": right.to(torch.int32), "scale": scale}


def _components(y: Matrix, columns: int, seed: int, past: Tensor | None) -> Factors:
    """Return ``columns`` components: exact where that is all of them, else from a sketch that starts from ``past``."""
    if columns == min(y.shape):
        return linalg.exact_factors(y)
    noise = torch.randn(y.shape[1], columns, generator=generator(seed), dtype=torch.float64).to(y.values.device)
    if past is None or past.shape != noise.shape:
        return linalg.range_factors(y, noise, iterations=2)
    # A little noise lets in directions that the past had nothing in.
    start = torch.nn.functional.normalize(past.to(noise), dim=0) + noise * (0.1 / math.sqrt(y.shape[1]))
    return linalg.range_factors(y, start, iterations=1)


def _matrix_shape(spec: Spec) -> tuple[int, int]:
    """Return (first dimension, product of the others); (0, 0) where the tensor is no matrix."""
    if len(spec.shape) < 2 or not spec.numel:
        return 0, 0
    return spec.shape[0], spec.numel // spec.shape[0]


def _most_rank(m: int, n: int) -> int:
    """Return the highest rank that travels: factors then hold at most as many elements as the matrix, or are few."""
    return min(m, n, _MOST_RANK, max(_FEW_RANKS, m * n // max(m + n, 1)))


def _matrix(x: Tensor) -> Matrix:
    return Matrix.of(x.reshape(_matrix_shape(Spec.of(x))))


def _decoded_rows(parts: Mapping[str, Tensor], spec: Spec) -> Iterator[tuple[int, Tensor]]:
    """Yield where some rows of the decoded matrix begin, and these, in the dtype that was encoded. Raises WireError."""
    scale = float(parts["scale"])
    if not 0 <= scale < math.inf:
        raise WireError(f"lowrank: the scale is {scale}, expected a finite number from 0")
    # Every partial sum is an integer below 2**53: float64 holds it exactly in whatever order a BLAS adds.
    left, right = _levels(parts, "left"), _levels(parts, "right").double().T
    most = torch.finfo(spec.dtype).max
    for at in range(0, len(left), _ROWS):
        rows = left[at : at + _ROWS].double() @ right
        yield at, rows.mul_(scale).clamp_(-most, most).to(spec.working).to(spec.dtype)


def _levels(parts: Mapping[str, Tensor], name: str) -> Tensor:
    low, high = (int(end) for end in parts[name].aminmax())
    if not -_MOST_LEVEL <= low <= high <= _MOST_LEVEL:
        raise WireError(f"lowrank: {name} holds {low} to {high}, expected at most {_MOST_LEVEL} in magnitude")
    return parts[name]
