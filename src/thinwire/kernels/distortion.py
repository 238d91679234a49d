"""How large a tensor is, how far a decoded one is from it, and the coarsest step that stays close enough."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from thinwire.kernels import dispatch
from thinwire.kernels.narrow import saturate
from thinwire.kernels.search import largest_within

_SAMPLE = 1 << 18
_SLACK = 0.02
"""How much of a bound may stay unused."""
_CHUNK = 1 << 16
"""Few enough elements for a dot product in float32 to be right to 1e-4, whatever they are."""
_FIRST = 1 << 8
_BELOW = 1 - 2.0**-40
"""A bound is kept by more than sums in another order differ."""
_LEAST, _MOST = 2.0**-90, 2.0**120
"""Between these, a chunk's sum of squares has neither overflowed in float32 nor lost what is subnormal there."""


def energy(x: Tensor) -> float:
    """Return ``sum(x**2)`` of a float tensor to 1e-4 of itself, in one read of it.

    NaN where x holds NaN, infinity where it holds infinity. In float64, squares above 1e308 and below 1e-308 count as
    infinity and zero; in narrower dtypes nothing overflows or vanishes.
    """
    flat = x.detach().reshape(-1)
    if flat.dtype == torch.float32 and dispatch.worth_compiling(flat):
        return dispatch.energy(flat)
    chunks = torch.split(flat, _CHUNK) if len(flat) > _CHUNK else (flat,)
    sums = [float(_squares(flat))] if len(chunks) == 1 else torch.stack([_squares(chunk) for chunk in chunks]).tolist()
    pairs = zip(sums, chunks, strict=True)
    return sum(e if _LEAST < e < _MOST else float(_squares(chunk.double())) for e, chunk in pairs)


def energies(x: Tensor, lengths: Sequence[int]) -> list[float]:
    """Return the ``energy`` of each of consecutive segments of a 1-D tensor, ``lengths`` elements long."""
    if x.dtype == torch.float32 and dispatch.worth_compiling(x):
        return dispatch.energies(x, lengths)
    return [energy(segment) for segment in torch.split(x, list(lengths))]


def _squares(chunk: Tensor) -> Tensor:
    wide = chunk if chunk.dtype == torch.float64 else chunk.float()
    return torch.dot(wide, wide)


def all_finite(x: Tensor) -> bool:
    """Return whether a float tensor holds neither NaN nor infinity."""
    # Only where all are finite is a sum; it may overflow all the same.
    return math.isfinite(float(x.detach().sum())) or bool(torch.isfinite(x).all())


def is_zero(x: Tensor) -> bool:
    """Return whether a tensor holds nothing but zeros; the first element that is not zero ends the search."""
    flat = x.detach().reshape(-1)
    if bool(flat[:_FIRST].any()):  # as nearly always
        return False
    return not any(bool(flat[at : at + _CHUNK].any()) for at in range(_FIRST, len(flat), _CHUNK))


def largest(x: Tensor) -> float:
    """Return the largest magnitude of a float tensor: 0 for an empty one, NaN where x holds NaN."""
    if not x.numel():
        return 0.0
    low, high = (float(end) for end in x.detach().aminmax())
    return max(-low, high)


def nmse(x: Tensor, y: Tensor) -> float:
    """Return ``sum((x-y)**2) / sum(x**2)`` in float64; of an all-zero x 0 if y equals it, else infinity."""
    unit = _unit(x)
    if not unit:
        return math.inf if bool(y.any()) else 0.0
    pairs = zip(_chunks(x), _chunks(y), strict=True)
    return _total(_scaled(a, unit).sub_(_scaled(b, unit)) for a, b in pairs) / _power(x, unit)


def rms(x: Tensor) -> float:
    """Return ``sqrt(mean(x**2))`` in float64, whatever the magnitudes; 0 for an empty tensor."""
    unit = _unit(x)
    return unit * math.sqrt(_power(x, unit) / x.numel()) if unit else 0.0


def _unit(x: Tensor) -> float:
    """Return what to divide a tensor by so that no square over- or underflows: 1 mostly; 0 for nothing but zeros."""
    peak = largest(x)
    return peak if x.dtype == torch.float64 or not peak else 1.0


def _power(x: Tensor, unit: float) -> float:
    return _total(_scaled(chunk, unit) for chunk in _chunks(x))


def _scaled(chunk: Tensor, unit: float) -> Tensor:
    wide = chunk.to(torch.float64, copy=True)
    return wide if unit == 1.0 else wide.div_(unit)


def _total(chunks: Iterable[Tensor]) -> float:
    """Return the sum of the squares of float64 chunks."""
    # As numbers, not as tensors: those would take the room that one chunk leaves to the next.
    return math.fsum(float(torch.dot(chunk, chunk)) for chunk in chunks)


def _chunks(x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x.detach().reshape(-1), _CHUNK)


def largest_step(x: Tensor, bound: float, threshold: float) -> float | None:
    """Return the largest step (up to 2 %) whose quantization of ``x`` has an NMSE of at most ``bound``.

    A sample says where to begin; the whole tensor has the last word. None where no step does (float resolution).
    """
    working = torch.float64 if x.dtype == torch.float64 else torch.float32
    flat = x.detach().reshape(-1)
    peak = largest(flat)
    if peak == 0.0:
        return 1.0
    sample = flat[:: max(1, flat.numel() // _SAMPLE)].contiguous()
    # Steps that are subnormal lose what they are made for.
    least = max(peak * 2.0**-29, torch.finfo(working).tiny)
    # Twice the largest float is infinity, between which and anything else no search ends.
    most = min(max(peak * 2.0, least), torch.finfo(working).max / 2)
    start = _bisect(_Quantized(sample, threshold), bound * (1 - _SLACK / 2), least, most)
    found = largest_within(_Quantized(flat, threshold).nmse, start, bound * _BELOW, _SLACK, least, most)
    return None if found is None else float(torch.tensor(found, dtype=working))


def _bisect(sample: _Quantized, bound: float, least: float, most: float) -> float:
    low, high = math.log(least), math.log(most)
    while high - low > 0.002:
        middle = (low + high) / 2
        if sample.nmse(math.exp(middle)) <= bound:
            low = middle
        else:
            high = middle
    return math.exp(low)


class _Quantized:
    """The NMSE of one flat tensor as a function of the step."""

    def __init__(self, flat: Tensor, threshold: float) -> None:
        self.flat, self.threshold = flat, threshold
        self.unit = _unit(flat) or 1.0
        self.power = _power(flat, self.unit)
        self.working = torch.float64 if flat.dtype == torch.float64 else torch.float32

    def nmse(self, step: float) -> float:
        """Return the NMSE of what a step, rounded to the working dtype, decodes to."""
        if not self.power:
            return 0.0
        rounded = float(torch.tensor(step, dtype=self.working))
        return math.fsum(self._error(chunk, rounded) for chunk in _chunks(self.flat)) / self.power

    def _error(self, chunk: Tensor, step: float) -> float:
        if chunk.dtype == torch.float32:
            return dispatch.squared_error(chunk, step, self.threshold)
        symbols = dispatch.quantize(chunk.to(self.working), 1.0 / step, self.threshold)
        decoded = saturate(symbols.to(self.working).mul_(step), chunk.dtype)
        return _total([_scaled(decoded, self.unit).sub_(_scaled(chunk, self.unit))])
