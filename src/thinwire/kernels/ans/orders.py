"""Symbols as they lie, or rearranged first: a convolution by its input channels, or every symbol as a number from 0."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import WireError
from thinwire.kernels.ans.alphabet import Symbols, Values
from thinwire.kernels.ans.choice import Choice, choose, surveyed
from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.counting import Survey
from thinwire.kernels.ans.fit import LEVEL_BITS, entropies
from thinwire.kernels.ans.joining import joined
from thinwire.kernels.ans.tables import BINS, Ints

PLAIN, SWAPPED, FOLDED = b"\2", b"\3", b"\4"
_WORTH_SWAPPING = 1 << 22
_SAMPLE = 1 << 16
_SIDE = 128
_SHARE = 0.003

Shape = tuple[int, ...]
_Kind = TypeVar("_Kind", bound=np.signedinteger[Any])


def best(values: Symbols, shape: Shape, like: Classes | None = None) -> tuple[bytes, Symbols, Choice]:
    """Return the order of symbols that are not all zero which is expected to take the fewest bits.

    ``like`` are classes to start from of the symbols as they lie.
    """
    seen = surveyed(values, shape)
    found = [(PLAIN, values, choose(values, shape, seen, like))]
    if len(shape) > 2 and min(shape[:2]) > 1 and values.size <= _WORTH_SWAPPING:
        swapped = _swapped(values, shape)
        found.append((SWAPPED, swapped, _chosen(swapped, (shape[1], shape[0], *shape[2:]))))
    if _lopsided(values, seen):
        folded = (values << 1) ^ (values >> 15)
        found.append((FOLDED, folded, _chosen(folded, shape)))
    return min(found, key=lambda order: order[2].bits)


def check(mode: bytes, shape: Shape) -> None:
    """Raise WireError unless a mode is one of these and suits the shape."""
    if mode not in (PLAIN, SWAPPED, FOLDED) or (mode == SWAPPED and len(shape) < 3):
        raise WireError(f"ans: a stream of mode {mode.hex() or 'none'} for a tensor of {len(shape)} dimensions")


def undone(mode: bytes, pieces: Iterator[Values], shape: Shape) -> Iterator[Values]:
    """Yield the symbols as they lie in a tensor of the shape, from the pieces of what was coded."""
    if mode == SWAPPED:
        yield _swapped(joined(pieces, math.prod(shape)), (shape[1], shape[0], *shape[2:]))
    else:
        yield from map(_unfolded, pieces) if mode == FOLDED else pieces


def _unfolded(values: Values) -> Values:
    if int(values.min()) < 0:
        raise WireError("ans: a folded symbol is negative")
    return (values >> 1) ^ -(values & 1)


def _swapped(values: NDArray[_Kind], shape: Shape) -> NDArray[_Kind]:
    """Return the symbols of a tensor of this shape with its first two dimensions swapped."""
    return np.ascontiguousarray(values.reshape(shape).swapaxes(0, 1)).reshape(-1)


def _chosen(values: Symbols, shape: Shape) -> Choice:
    return choose(values, shape, surveyed(values, shape))


def _lopsided(values: Symbols, seen: Survey) -> bool:
    """Return if positive and negative symbols are so unlike that they deserve tokens apart. A sample tells."""
    if seen.low < -_SIDE or seen.high >= _SIDE or seen.low >= 0 or seen.high <= 0:
        return False
    sample = values[:: max(1, values.size // _SAMPLE)]
    counts = np.bincount(sample + _SIDE, minlength=2 * _SIDE)
    apart, used = float(entropies(counts)), int(np.count_nonzero(counts))
    scale = values.size / sample.size
    # Counts of a sample look more ordered than they are: by about 0.7 bits for each of them.
    saved = _together(counts) - apart * (1 + _SHARE) - 0.7 * used
    return saved * scale > LEVEL_BITS * used


def _together(counts: NDArray[np.int64]) -> float:
    """Return the bits of magnitudes and, by bin, of signs."""
    positive, negative = counts[_SIDE + 1 :], counts[1:_SIDE][::-1]
    signs = np.stack([positive, negative], -1)
    bins = np.stack([signs[i : (i + 1 if i < BINS - 1 else None)].sum(0) for i in range(BINS)])
    magnitudes: Ints = np.concatenate([counts[_SIDE : _SIDE + 1], positive + negative])
    return float(entropies(magnitudes) + entropies(bins).sum())
