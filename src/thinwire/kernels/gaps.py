"""Ascending indices as bytes: the gap to the last one, where 255 means "255 more and go on"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thinwire.errors import WireError

ESCAPE = 255


def encoded_bytes(gaps: NDArray[np.int64]) -> int:
    """Return how many bytes ``encode`` makes."""
    return int((gaps // ESCAPE).sum()) + gaps.size


def encode(gaps: NDArray[np.int64]) -> bytes:
    """Return gaps (1-D, from 0) as bytes. A gap is the number of indices skipped since the one before."""
    if not gaps.size or int(gaps.max()) < ESCAPE:
        return gaps.astype(np.uint8).tobytes()
    escapes = gaps // ESCAPE
    out = np.full(encoded_bytes(gaps), ESCAPE, np.uint8)
    out[np.cumsum(escapes + 1) - 1] = gaps - ESCAPE * escapes
    return out.tobytes()


def decode(data: bytes, most: int) -> NDArray[np.int64]:
    """Return the strictly ascending int64 indices, at most ``most`` of them, or raise WireError."""
    steps = np.frombuffer(data, np.uint8)
    last = steps != ESCAPE
    # Counted first: the places of a hostile stream's gaps would take eight bytes each.
    if (found := np.count_nonzero(last)) > most:
        raise WireError(f"gaps: the stream holds {found} indices, expected at most {most}")
    if steps.size and not last[-1]:
        raise WireError("gaps: the last gap is cut short")
    ends = np.flatnonzero(last)
    indices = np.cumsum(steps[ends], dtype=np.int64)
    order = np.arange(ends.size)
    ends -= order
    ends *= ESCAPE
    indices += ends
    indices += order
    return indices


def between(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the gaps of strictly ascending indices (1-D, from 0)."""
    gaps = np.empty(indices.shape, np.int64)
    gaps[:1] = indices[:1]
    np.subtract(indices[1:], indices[:-1], out=gaps[1:])
    gaps[1:] -= 1
    return gaps


def ascending(indices: Tensor, limit: int, owner: str) -> Tensor:
    """Return int64 indices that are strictly ascending from 0 and below ``limit``; others raise WireError.

    Whoever scatters by indices checks them here: an index codec may promise order, only the owner knows the limit.
    """
    if not indices.numel():
        return indices
    inside = int(indices[0]) >= 0 and int(indices[-1]) < limit
    if not inside or bool((indices[1:] <= indices[:-1]).any()):
        raise WireError(f"{owner}: indices are not strictly ascending within {limit}")
    return indices
