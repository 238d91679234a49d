"""Choose a kernel: compiled on the CPU for tensors worth it, the torch reference everywhere else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thinwire.kernels import reference
from thinwire.kernels.reference import packed_bytes

__all__ = [
    "add",
    "all_within",
    "can_add",
    "energies",
    "energy",
    "pack",
    "packed_bytes",
    "quantize",
    "residual_",
    "squared_error",
    "unpack",
    "worth_compiling",
]

_WORTH_COMPILING = 1 << 14


def worth_compiling(x: Tensor) -> bool:
    """Return whether a tensor is one for the compiled loops."""
    return _compiled(x, x.numel())


def energy(x: Tensor) -> float:
    """Return ``sum(x**2)`` in float64 of a 1-D float32 tensor that is worth compiling for."""
    from thinwire.kernels import cpu

    return cpu.energy(x)


def energies(x: Tensor, lengths: Sequence[int]) -> list[float]:
    """Return the ``energy`` of each of consecutive segments of such a tensor."""
    from thinwire.kernels import cpu

    return cpu.energies(x, lengths)


def can_add(x: Tensor, y: Tensor, out: Tensor) -> bool:
    """Return whether ``add`` takes these, and is worth it."""
    fits = all(part.dtype == torch.float32 and part.is_contiguous() for part in (x, y, out))
    return fits and x.device.type == y.device.type and worth_compiling(out)


def add(x: Tensor, y: Tensor, out: Tensor) -> float:
    """Write ``x + y`` to ``out`` and return its ``energy``, in one sweep: contiguous float32 of one shape."""
    from thinwire.kernels import cpu

    return cpu.add(x, y, out)


def _compiled(x: Tensor, count: int) -> bool:
    return x.device.type == "cpu" and count >= _WORTH_COMPILING


def pack(codes: Tensor, bits: int) -> Tensor:
    """Return uint8 bytes of 1-D integer codes of 1 to 16 bits each."""
    if not _compiled(codes, len(codes)):
        return reference.pack(codes, bits)
    from thinwire.kernels import cpu

    return cpu.pack(codes, bits)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return ``count`` int32 codes; ``packed`` must hold exactly ``packed_bytes(count, bits)``."""
    if not _compiled(packed, count):
        return reference.unpack(packed, bits, count)
    from thinwire.kernels import cpu

    return cpu.unpack(packed, bits, count)


def quantize(x: Tensor, inverse_step: float, threshold: float) -> Tensor:
    """Return int32 symbols of a float32 or float64 tensor; see ``reference.quantize``."""
    if not _compiled(x, x.numel()):
        return reference.quantize(x, inverse_step, threshold)
    from thinwire.kernels import cpu

    return cpu.quantize(x, inverse_step, threshold)


def residual_(x: Tensor, step: float, threshold: float) -> None:
    """Turn a contiguous float32 or float64 tensor into what a quantizer loses of it; see ``reference.residual_``."""
    if not _compiled(x, x.numel()):
        return reference.residual_(x, step, threshold)
    from thinwire.kernels import cpu

    return cpu.residual_(x, step, threshold)


def squared_error(x: Tensor, step: float, threshold: float) -> float:
    """Return the sum of squares, in float64, of what a quantizer loses of a float32 or float64 tensor."""
    if not _compiled(x, x.numel()):
        return reference.squared_error(x, step, threshold)
    from thinwire.kernels import cpu

    return cpu.squared_error(x, step, threshold)


def all_within(x: Tensor, symbols: Tensor, step: float, bound: float) -> bool:
    """Return whether no element of a float32 or float64 tensor is more than ``bound`` from what its symbol means."""
    if not _compiled(x, x.numel()):
        return reference.all_within(x, symbols, step, bound)
    from thinwire.kernels import cpu

    return cpu.all_within(x, symbols, step, bound)
