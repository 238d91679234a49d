"""How far a decoded tensor is from the original, and the search for the coarsest step that stays close enough."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thinwire.kernels import dispatch
from thinwire.kernels.narrow import saturate

_SAMPLE = 1 << 16
_SHRINK = 0.98
_SMALL = 1e-200


def nmse(x: Tensor, y: Tensor) -> float:
    """Return ``sum((x-y)**2) / sum(x**2)`` in float64; of an all-zero x 0 if y equals it, else infinity."""
    energy = float(x.double().square().sum())
    if _SMALL < energy < 1 / _SMALL:
        return float((x.double() - y.double()).square().sum()) / energy
    largest = _largest(x)
    if largest == 0.0:
        return math.inf if bool(y.any()) else 0.0
    return nmse(x.double() / largest, y.double() / largest)


def rms(x: Tensor) -> float:
    """Return ``sqrt(mean(x**2))`` in float64, whatever the magnitudes; 0 for an empty tensor."""
    largest = _largest(x)
    return largest * math.sqrt(float((x.double() / largest).square().mean())) if largest else 0.0


def _largest(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0


def largest_step(x: Tensor, bound: float, threshold: float) -> float | None:
    """Return the largest step (up to 2 %) whose quantization of ``x`` has an NMSE of at most ``bound``.

    A sample brackets the step; the whole tensor has the last word. None where no step does (float resolution).
    """
    working = torch.float64 if x.dtype == torch.float64 else torch.float32
    flat = x.to(working).reshape(-1)
    largest = _largest(flat)
    if largest == 0.0:
        return 1.0
    step = _bisect(flat[:: max(1, flat.numel() // _SAMPLE)], bound, threshold, largest)
    while step > largest * 2.0**-29:
        step32 = float(torch.tensor(step, dtype=working))
        if _distortion(flat, step32, threshold, x.dtype) <= bound:
            return step32
        step *= _SHRINK
    return None


def _bisect(sample: Tensor, bound: float, threshold: float, largest: float) -> float:
    low, high = math.log(largest * 2.0**-28), math.log(largest * 2.0)
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
