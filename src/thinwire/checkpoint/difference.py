"""What travels of a piece: itself, its difference to the base, or the bits in which the two differ."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from thinwire.codec import Spec
from thinwire.errors import WireError
from thinwire.kernels.narrow import saturate

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Mode(IntEnum):
    """What a piece is, as a byte of the file."""

    WHOLE = 0
    DIFFERENCE = 1
    """Tensor minus base in the working dtype: float64 for float64, float32 for narrower floats. Lossy codecs."""
    BITS = 2
    """Tensor xor base, as integers: every bit returns."""


def travelling(spec: Spec, mode: Mode) -> Spec:
    """Return the spec of what travels of a piece of ``spec``."""
    if mode is Mode.DIFFERENCE:
        return Spec(spec.shape, spec.working)
    return Spec(spec.shape, _BITS[spec.dtype.itemsize]) if mode is Mode.BITS else spec


def target(x: Tensor, base: Tensor | None, mode: Mode) -> Tensor:
    """Return what travels."""
    if mode is Mode.WHOLE or base is None:
        return x
    if mode is Mode.BITS:
        bits = _BITS[x.dtype.itemsize]
        return x.view(bits) ^ base.view(bits)
    working = Spec.of(x).working
    return x.to(working) - base.to(working)


def restored(decoded: Tensor, base: Tensor | None, mode: Mode, dtype: torch.dtype) -> Tensor:
    """Return the piece in ``dtype``: a difference is added in the working dtype and rounded once. Raises WireError."""
    if mode is Mode.WHOLE:
        return decoded
    if base is None:
        raise WireError("a difference without its base")
    if mode is Mode.DIFFERENCE:
        return saturate(base.to(decoded.dtype) + decoded, dtype)
    bits = decoded ^ base.view(decoded.dtype)
    if dtype == torch.bool and bits.numel() and int(bits.max()) > 1:
        raise WireError("a bool is neither 0 nor 1")
    return bits.view(dtype)
