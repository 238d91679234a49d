"""Blocks that share a scale: the whole tensor, a channel, or a number of elements. Only the last may be short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from thinwire.errors import WireError
from thinwire.kernels.distortion import all_finite

Block = int | Literal["tensor", "channel"]

PIECE = 1 << 16
"""Elements that are worked on at a time: what is computed on the way then stays in the cache."""


def check_block(codec: str, block: object) -> None:
    """Raise ValueError unless ``block`` is ``tensor``, ``channel`` or an integer from 2."""
    if block not in ("tensor", "channel") and not (isinstance(block, int) and block >= 2):
        raise ValueError(f"{codec}: block is {block!r}, expected 'tensor', 'channel' or an integer from 2")


def check_scales(scales: Tensor, owner: str) -> None:
    """Raise WireError unless what blocks were told (blocks,) or (blocks, any) is finite, its first never negative."""
    if not all_finite(scales) or bool(((scales if scales.dim() == 1 else scales[:, 0]) < 0).any()):
        raise WireError(f"{owner}: a scale is negative, NaN or infinite")


def grid(shape: tuple[int, ...], numel: int, block: Block) -> tuple[int, int]:
    """Return how many blocks a tensor has, and how many elements each. A channel is one index of the first dimension.

    A tensor of fewer than two dimensions is one channel: its elements have nothing to share a scale with otherwise.
    """
    if not numel:
        return 0, 1
    if block == "channel" and len(shape) > 1:
        return shape[0], numel // shape[0]
    width = min(block, numel) if isinstance(block, int) else numel
    return -(-numel // width), width


def pieces(numel: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield elements and the blocks that they belong to: some whole blocks, or a part of one that is large."""
    step = max(PIECE // width * width, width)
    for start in range(0, numel, step):
        stop = min(start + step, numel)
        blocks = slice(start // width, -(-stop // width))
        yield from ((slice(at, min(at + PIECE, stop)), blocks) for at in range(start, stop, PIECE))


def rows(flat: Tensor, width: int) -> list[Tensor]:
    """Return 2-D views of a 1-D tensor, a block a row: all blocks of ``width`` elements, then the short last one."""
    if not flat.numel():
        return [flat.view(0, 1)]
    whole = flat.numel() // width * width
    parts = [part.view(-1, min(width, part.numel())) for part in (flat[:whole], flat[whole:]) if part.numel()]
    return [piece for part in parts for piece in torch.split(part, max(PIECE // part.shape[1], 1))]


def paired(flat: Tensor, width: int, scales: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the ``rows``, each with its part of ``scales`` (blocks, anything)."""
    views = rows(flat, width)
    return list(zip(views, torch.split(scales, [len(view) for view in views]), strict=True))


def of_each(flat: Tensor, width: int, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``reduce(rows)``, a row of results for every block."""
    return torch.cat([reduce(view) for view in rows(flat, width)])


def total(x: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the sum of every row of ``part(x)``, float64 (rows, 1)."""
    return torch.stack([part(piece).sum(1, keepdim=True).double() for piece in torch.split(x, PIECE, 1)]).sum(0)


def mean(x: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the mean of every row of ``part(x)``, where ``part`` keeps the scale: ``part(x / 2) == part(x) / 2``."""
    width = x.shape[1]
    means = total(x, part).div_(width)
    # Magnitudes near the limit of the dtype overflow when added up; divided first they cannot.
    return (means if bool(torch.isfinite(means).all()) else total(x, lambda piece: part(piece / width))).to(x.dtype)


def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest element of every row."""
    if len(x) != 1:
        # Along a dimension, torch's own aminmax takes ten times as long.
        return x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    low, high = x.aminmax()
    return low.view(1, 1), high.view(1, 1)


def largest(x: Tensor) -> Tensor:
    """Return the largest magnitude of every row."""
    low, high = extremes(x)
    return torch.maximum(high, -low).abs_()


def rms(x: Tensor) -> Tensor:
    """Return ``sqrt(mean(x**2))`` of every row, whatever the magnitudes."""
    most = largest(x)
    divisor = torch.where(most > 0, most, 1)
    squares = total(x, lambda piece: (piece / divisor).square_()).div_(x.shape[1])
    return squares.sqrt_().to(x.dtype).mul_(most)
