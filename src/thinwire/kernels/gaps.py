"""Ascending indices as bytes: the gap to the last one, where 255 means "255 more and go on"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thinwire.errors import WireError


def encode(indices: NDArray[np.int64]) -> bytes:
    """Return gap bytes of strictly ascending indices (1-D, from 0)."""
    gaps = indices.astype(np.int64)
    gaps[1:] -= indices[:-1] + 1
    longs = gaps // 255
    out = np.full(int(longs.sum()) + gaps.size, 255, np.uint8)
    out[np.cumsum(longs + 1) - 1] = gaps % 255
    return out.tobytes()


def decode(data: bytes, limit: int) -> NDArray[np.int64]:
    """Return the int64 indices, strictly ascending and below ``limit``, or raise WireError."""
    steps = np.frombuffer(data, np.uint8)
    ends = steps < 255
    if steps.size and not ends[-1]:
        raise WireError("gaps: the last gap does not end")
    indices = np.cumsum(steps, dtype=np.int64)[ends]
    indices += np.arange(indices.size)
    if indices.size and int(indices[-1]) >= limit:
        raise WireError(f"gaps: index {int(indices[-1])} is not below {limit}")
    return indices


def ascending(indices: Tensor, limit: int, owner: str) -> Tensor:
    """Return int64 indices that are strictly ascending from 0 and below ``limit``; others raise WireError.

    Whoever scatters by indices checks them here: an index codec may promise order, only the owner knows the limit.
    """
    if indices.numel() and (int(indices[0]) < 0 or int(indices[-1]) >= limit or bool((indices.diff() <= 0).any())):
        raise WireError(f"{owner}: indices are not strictly ascending within {limit}")
    return indices
