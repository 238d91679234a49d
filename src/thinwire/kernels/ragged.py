"""Evenly spaced levels of consecutive segments of any lengths: as ``uniform`` makes of each, to the bit."""

from __future__ import annotations

import torch
from torch import Tensor

from thinwire.kernels import blocks, uniform

_LONG = 2000
"""Elements of a segment, about, from which a call for each is faster than one for all."""


def extremes(x: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest element of each segment of a 1-D CPU tensor, (segments, 1) each.

    ``ends``, here and below: int64, where each segment ends, strictly ascending, the last at n.
    """
    lengths = _lengths(ends)
    if len(ends) and x.numel() >= _LONG * len(ends):
        each = [blocks.extremes(part.view(1, -1)) for part in torch.split(x, lengths.tolist())]
        low, high = (torch.cat(found) for found in zip(*each, strict=True))
    else:
        low, high = (torch.segment_reduce(x, how, lengths=lengths, unsafe=True) for how in ("min", "max"))
    return low.view(-1, 1), high.view(-1, 1)


def nearest(x: Tensor, ends: Tensor, low: Tensor | None, step: Tensor, least: int, most: int) -> Tensor:
    """Return the codes of a 1-D tensor; ``low`` and ``step``: (segments, 1)."""
    if uniform.compiled(x):
        from thinwire.kernels import uniform_cpu

        return uniform_cpu.nearest_of_segments(x, ends, low, step, least, most)
    lows = None if low is None else _spread(low, ends)
    return uniform.plain_nearest(x, lows, _spread(step, ends), 1, least, most)


def values(codes: Tensor, ends: Tensor, low: Tensor | None, step: Tensor, least: int, out: Tensor) -> None:
    """Write what the codes stand for to ``out`` (n,)."""
    if uniform.compiled(out):
        from thinwire.kernels import uniform_cpu

        uniform_cpu.values_of_segments(codes, ends, low, step, least, out)
        return
    lows = None if low is None else _spread(low, ends)
    uniform.plain_values(codes, lows, _spread(step, ends), least, 1, out)


def _spread(numbers: Tensor, ends: Tensor) -> Tensor:
    """Return the number of every element's segment."""
    return numbers.repeat_interleave(_lengths(ends), 0)


def _lengths(ends: Tensor) -> Tensor:
    return ends.diff(prepend=ends.new_zeros(1))
