"""Rate-distortion optimized quantization: every symbol minimizes ``D + lambda R``, R being what rANS would spend on it.

What a symbol costs depends on its row and column (`kernels.ans`), so a model is fitted to a plain quantization first.
Sullivan and Wiegand 1998, "Rate-distortion optimization for video compression"; the cost is the coder's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from thinwire.kernels import ans, dispatch
from thinwire.kernels.rdo.cuts import MOST, cuts
from thinwire.kernels.rdo.decoding import points_of
from thinwire.kernels.rdo.points import Sums, points

__all__ = ["Chosen", "choose", "points_of"]

_LARGE = 1 << 20
_FIRST = 0.6
"""Dead zone of the plain quantization, in steps: near what the best one is."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Symbols (1-D int32), and the offsets of their points: of magnitudes 1, 2 and from 3 on, in steps.

    ``squares`` is the sum of squared errors, in steps, of what those points decode to.
    """

    symbols: NDArray[np.int32]
    offsets: NDArray[np.float64]
    squares: float


def choose(values: NDArray[np.floating], shape: tuple[int, ...], inverse_step: float, trade: float) -> Chosen:
    """Return symbols for 1-D ``values`` of a tensor's shape. ``trade`` is lambda, in squared steps a bit.

    Magnitudes over steps must stay below ``2**30``.
    """
    symbols = dispatch.quantize(torch.from_numpy(values), inverse_step, _FIRST).numpy()
    chosen = None
    # A second look pays where most is zero: there the first choice changes what symbols cost.
    sparse = 8 * int(np.count_nonzero(symbols)) < values.size < _LARGE
    for _ in range(2 if sparse else 1):
        if not symbols.any():
            return _all_zero(values, inverse_step)
        chosen = _chosen(values, ans.model(symbols, shape), inverse_step, trade, symbols)
    assert chosen is not None
    return chosen


def _chosen(
    values: NDArray[np.floating], model: ans.Model, inverse_step: float, trade: float, symbols: NDArray[np.int32]
) -> Chosen:
    """Choose into ``symbols``: those that the model was fitted to are not needed any more."""
    from thinwire.kernels.rdo import loops

    grid, inverse = model.classes.grid(values.size), values.dtype.type(inverse_step)
    sums = np.zeros(Sums.SIZE)
    envelopes = cuts(ans.costs(model, MOST), trade)
    loops.choose(values, grid.rows, grid.cols, model.coder.table_of, envelopes, inverse, symbols, sums)
    offsets, squares = points(Sums(sums))
    return Chosen(symbols, offsets, squares)


def _all_zero(values: NDArray[np.floating], inverse_step: float) -> Chosen:
    squares = float(np.dot(values, values.astype(np.float64))) * inverse_step * inverse_step
    return Chosen(np.zeros(values.size, np.int32), np.zeros(3), squares)
