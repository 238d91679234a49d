"""Bit packing in plain torch, on any device: slow, obvious, and the truth that other kernels must equal."""

from __future__ import annotations

import torch
from torch import Tensor


def packed_bytes(count: int, bits: int) -> int:
    """Return the bytes that ``count`` codes of ``bits`` bits take."""
    return (count * bits + 7) // 8


def pack(codes: Tensor, bits: int) -> Tensor:
    """Return uint8 bytes of the codes (1-D integers, 0 to 2**bits - 1), least significant bit first, no gaps."""
    places = torch.arange(bits, device=codes.device)
    stream = ((codes.to(torch.int64)[:, None] >> places) & 1).flatten()
    padded = torch.nn.functional.pad(stream, (0, -len(stream) % 8)).view(-1, 8)
    weights = 1 << torch.arange(8, device=codes.device)
    return (padded * weights).sum(1).to(torch.uint8)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return ``count`` int32 codes from the bytes that ``pack`` made."""
    places = torch.arange(8, device=packed.device)
    stream = ((packed.to(torch.int64)[:, None] >> places) & 1).flatten()[: count * bits]
    weights = 1 << torch.arange(bits, device=packed.device)
    return (stream.view(count, bits) * weights).sum(1).to(torch.int32)


def quantize(x: Tensor, inverse_step: float, threshold: float) -> Tensor:
    """Return int32 symbols: ``sign(x) * floor(|x| / step + 1 - threshold)``.

    ``threshold`` 0.5 rounds to nearest; above, values under ``threshold`` steps fall into the dead zone. Arithmetic is
    in x's dtype. Magnitudes beyond 2**30 are cut there: the caller stores such violators exactly.
    """
    magnitude = (x.abs() * inverse_step + (1.0 - threshold)).floor().clamp_(max=2.0**30)
    return torch.where(x < 0, -magnitude, magnitude).to(torch.int32)


def residual_(x: Tensor, step: float, threshold: float) -> None:
    """Subtract from x, in place, what its symbols decode to: ``symbol * step``, in x's dtype."""
    x -= quantize(x, 1.0 / step, threshold).to(x.dtype).mul_(step)


def squared_error(x: Tensor, step: float, threshold: float) -> float:
    """Return ``sum((x - symbol * step)**2)`` of a quantized tensor; products in x's dtype, squares in float64."""
    decoded = quantize(x, 1.0 / step, threshold).to(x.dtype).mul_(step)
    return float((x.double() - decoded.double()).square_().sum())


def all_within(x: Tensor, symbols: Tensor, step: float, bound: float) -> bool:
    """Return whether ``symbol * step``, in x's dtype, is nowhere more than ``bound`` from x, compared in float64."""
    error = (symbols.to(x.dtype).mul_(step).double() - x.double()).abs_()
    return bool((error <= bound).all())
