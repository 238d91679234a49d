"""Evenly spaced levels in groups that share a scale: nearest codes, and the values that codes stand for.

Large float32 tensors on a CPU go to compiled loops, all others through plain torch; both give the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WORTH_COMPILING = 1 << 14


def nearest(flat: Tensor, low: Tensor | None, step: Tensor, width: int, least: int, most: int) -> Tensor:
    """Return the codes of a 1-D tensor in groups of ``width``, the last perhaps short; as many bytes each as they need.

    ``code = round((x - low) / step)``, half to even, within ``least`` and ``most``, counted from ``least``; that of
    zero where the step is 0. ``low`` and ``step``: (groups, 1), finite; no ``low`` is zeros.
    """
    if compiled(flat):
        from thinwire.kernels import uniform_cpu

        return uniform_cpu.nearest(flat, low, step, width, least, most)
    return plain_nearest(flat, low, step, width, least, most)


def values(codes: Tensor, low: Tensor | None, step: Tensor, least: int, width: int, out: Tensor) -> None:
    """Write ``(code + least) * step + low`` to ``out`` (n,): one multiply and one add. Groups have ``width`` elements.

    ``codes``: (n,) integers from 0 to 2**24; ``low`` and ``step``: (groups, 1); no ``low`` adds nothing.
    """
    if compiled(out):
        from thinwire.kernels import uniform_cpu

        return uniform_cpu.values(codes, low, step, least, width, out)
    return plain_values(codes, low, step, least, width, out)


def compiled(x: Tensor) -> bool:
    """Return whether a tensor is worth compiled loops, and they can take it."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() >= _WORTH_COMPILING


def plain_nearest(flat: Tensor, low: Tensor | None, step: Tensor, width: int, least: int, most: int) -> Tensor:
    """Do as ``nearest``: the truth that the compiled loop must equal."""
    rows, nothing = padded(flat, width), flat.new_zeros(())
    position = torch.where(step > 0, (rows if low is None else rows - low) / step, nothing)
    codes = position.round().clamp_(least, most).sub_(least)
    return codes.to(torch.uint8 if most - least < 256 else torch.int32).view(-1)[: len(flat)]


def padded(flat: Tensor, width: int) -> Tensor:
    """Return the groups as rows, zeros behind a short last one."""
    missing = -len(flat) % width
    return (torch.nn.functional.pad(flat, (0, missing)) if missing else flat).view(-1, width)


def plain_values(codes: Tensor, low: Tensor | None, step: Tensor, least: int, width: int, out: Tensor) -> None:
    """Do as ``values``."""
    out.copy_(codes).add_(least)
    whole = out.numel() - out.numel() % width if width else 0
    for at, piece in ((0, out[:whole]), (whole // max(width, 1), out[whole:])):
        if piece.numel():
            rows = piece.view(-1, min(width, piece.numel()))
            rows.mul_(step[at : at + len(rows)])
            if low is not None:
                rows.add_(low[at : at + len(rows)])
