"""Symbols to the points that they stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.rdo.points import UNITS

TABLE = 256
"""Magnitudes below this are looked up."""


def points_of(
    symbols: NDArray[np.int32], offsets: NDArray[np.uint8], step: float, kind: type[np.floating]
) -> NDArray[np.floating]:
    """Return ``(256 * symbol + offset of its magnitude) * step / 256`` in float64, rounded to ``kind``.

    ``offsets`` are those of magnitudes 1, 2 and from 3 on, plus 128. The left factor is an integer below 2**40, so that
    every machine rounds the one product alike.
    """
    signed = offsets.astype(np.int64) - 128
    magnitudes = np.arange(TABLE)
    whole = UNITS * magnitudes + np.where(magnitudes > 0, signed[np.clip(magnitudes - 1, 0, 2)], 0)
    # A hostile step makes infinities, which whoever decodes refuses.
    with np.errstate(over="ignore"):
        positive = (whole * (step / UNITS)).astype(kind)
    out = np.empty(symbols.size, kind)
    from thinwire.kernels.rdo import loops

    loops.decode(symbols, np.concatenate([-positive[:0:-1], positive]), int(signed[2]), step / UNITS, out)
    return out
