"""How large a tensor is, how far a decoded one is from it, and the coarsest step that stays close enough."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thinwire.kernels import dispatch
from thinwire.kernels.narrow import saturate

_SAMPLE = 1 << 16
_SHRINK = 0.98
_SMALL = 1e-200
_CHUNK = 1 << 16
"""Few enough elements for a dot product in float32 to be right to 1e-4, whatever they are."""
_LEAST, _MOST = 2.0**-90, 2.0**120
"""Between these, a chunk's sum of squares has neither overflowed in float32 nor lost what is subnormal there."""


def energy(x: Tensor) -> float:
    """Return ``sum(x**2)`` of a float tensor to 1e-4 of itself, in one read of it.

    NaN where x holds NaN, infinity where it holds infinity. In float64, squares above 1e308 and below 1e-308 count as
    infinity and zero; in narrower dtypes nothing overflows or vanishes.
    """
    chunks = torch.split(x.detach().reshape(-1), _CHUNK)
    sums = torch.stack([_squares(chunk) for chunk in chunks]).tolist()
    pairs = zip(sums, chunks, strict=True)
    return sum(e if _LEAST < e < _MOST else float(_squares(chunk.double())) for e, chunk in pairs)


def _squares(chunk: Tensor) -> Tensor:
    wide = chunk if chunk.dtype == torch.float64 else chunk.float()
    return torch.dot(wide, wide)


def all_finite(x: Tensor) -> bool:
    """Return whether a float tensor holds neither NaN nor infinity."""
    return math.isfinite(energy(x)) or bool(torch.isfinite(x).all())


def is_zero(x: Tensor) -> bool:
    """Return whether a tensor holds nothing but zeros; the first element that is not zero ends the search."""
    return not any(bool(chunk.any()) for chunk in torch.split(x.detach().reshape(-1), _CHUNK))


def largest(x: Tensor) -> float:
    """Return the largest magnitude of a float tensor: 0 for an empty one, NaN where x holds NaN."""
    if not x.numel():
        return 0.0
    low, high = (float(end) for end in x.detach().aminmax())
    return max(-low, high)


def nmse(x: Tensor, y: Tensor) -> float:
    """Return ``sum((x-y)**2) / sum(x**2)`` in float64; of an all-zero x 0 if y equals it, else infinity."""
    squares = float(x.double().square().sum())
    if _SMALL < squares < 1 / _SMALL:
        return float((x.double() - y.double()).square().sum()) / squares
    peak = largest(x)
    if peak == 0.0:
        return math.inf if bool(y.any()) else 0.0
    return nmse(x.double() / peak, y.double() / peak)


def rms(x: Tensor) -> float:
    """Return ``sqrt(mean(x**2))`` in float64, whatever the magnitudes; 0 for an empty tensor."""
    peak = largest(x)
    return peak * math.sqrt(float((x.double() / peak).square().mean())) if peak else 0.0


def largest_step(x: Tensor, bound: float, threshold: float) -> float | None:
    """Return the largest step (up to 2 %) whose quantization of ``x`` has an NMSE of at most ``bound``.

    A sample brackets the step; the whole tensor has the last word. None where no step does (float resolution).
    """
    working = torch.float64 if x.dtype == torch.float64 else torch.float32
    flat = x.to(working).reshape(-1)
    peak = largest(flat)
    if peak == 0.0:
        return 1.0
    step = _bisect(flat[:: max(1, flat.numel() // _SAMPLE)], bound, threshold, peak)
    while step > peak * 2.0**-29:
        step32 = float(torch.tensor(step, dtype=working))
        if _distortion(flat, step32, threshold, x.dtype) <= bound:
            return step32
        step *= _SHRINK
    return None


def _bisect(sample: Tensor, bound: float, threshold: float, peak: float) -> float:
    low, high = math.log(peak * 2.0**-28), math.log(peak * 2.0)
    while high - low > 0.01:
        middle = (low + high) / 2
        if _distortion(sample, math.exp(middle), threshold, sample.dtype) <= bound:
            low = middle
        else:
            high = middle
    return math.exp(low)


def _distortion(flat: Tensor, step: float, threshold: float, dtype: torch.dtype) -> float:
    symbols = dispatch.quantize(flat, 1.0 / step, threshold)
    return nmse(flat, saturate(symbols.to(flat.dtype).mul_(step), dtype))
