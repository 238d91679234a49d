"""Where one symbol stops being the best: the lower envelope of ``(a - m)**2 + lambda * bits(m)`` over magnitudes m."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = 64
"""Larger magnitudes are rounded: their prices hardly differ."""


def cuts(prices: NDArray[np.float32], trade: float) -> NDArray[np.float32]:
    """Return the cut (tables, 2, MOST + 1) below which a magnitude gives way to the next lower one.

    ``prices`` are the bits (tables, 2 * MOST + 1) of the symbols ``-MOST .. MOST``; of the two sides the first is that
    of positive symbols. The squares' common part drops out, so that every magnitude is a line in a: the envelope is
    their hull. A magnitude that is never the best has an infinite cut.
    """
    sides = np.stack([prices[:, MOST:], prices[:, MOST::-1]], 1).astype(np.float64)
    magnitude = np.arange(MOST + 1.0)
    heights = magnitude * magnitude + trade * sides
    out = np.empty(heights.shape)
    from thinwire.kernels.rdo import loops

    loops.envelopes(heights.reshape(-1, MOST + 1), out.reshape(-1, MOST + 1))
    return out.astype(np.float32)
