"""The least and the greatest symbol of all rows and columns of a kind: what tables of a sample must not leave out."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from thinwire.kernels.ans.alphabet import Symbols
from thinwire.kernels.ans.contexts import DEAD, KEYS, PHASE_SHIFT, SIGN_BIT, Grid
from thinwire.kernels.ans.counting import FINEST, SUMS, Tally
from thinwire.kernels.ans.tables import Ints

_COLUMNS = 1 << 11


@dataclass(frozen=True, eq=False)
class Extremes:
    """By sum of the keys of a live row and a live column: the least and the greatest symbol, or 0 (all 1-D)."""

    sums: Ints
    low: Ints
    high: Ints

    def hold(self, tally: Tally, shifts: Ints) -> None:
        """Let a tally have at least one of the largest token of every sum of classes, and of every sign that comes."""
        phases = (self.sums & KEYS - 1) >> PHASE_SHIFT
        classes = (self.sums & SUMS - 1) + shifts[phases]
        most = np.maximum(np.abs(self.low), np.abs(self.high))
        last = np.full(SUMS, -1)
        np.maximum.at(last, classes, np.searchsorted(FINEST.base, most, side="right") - 1)
        seen = np.flatnonzero(last >= 0)
        tally.magnitudes[seen, last[seen]] = np.maximum(tally.magnitudes[seen, last[seen]], 1)
        against = np.where(self.sums >> SIGN_BIT & 1, self.high > 0, self.low < 0)
        some = np.unique(phases[against])
        tally.signs[some, :, 0] = np.maximum(tally.signs[some, :, 0], 1)


def extremes(values: Symbols, grid: Grid, loops: ModuleType) -> Extremes:
    """Return the extremes of the symbols of a grid; ``loops`` has ``peaks``."""
    (rows, row_kind), (cols, col_kind) = (np.unique(x, return_inverse=True) for x in (grid.rows, grid.cols))
    low, high = np.zeros((2, len(rows), len(cols)), np.int64)
    for first in range(0, grid.width, _COLUMNS):
        kinds = col_kind[first : first + _COLUMNS]
        found = np.zeros((len(rows), 2, kinds.size), np.int32)
        loops.peaks(values, row_kind, grid.width, first, found)
        order = np.argsort(kinds, kind="stable")
        here, starts = np.unique(kinds[order], return_index=True)
        low[:, here] = np.minimum(low[:, here], np.minimum.reduceat(found[:, 0, order], starts, axis=1))
        high[:, here] = np.maximum(high[:, here], np.maximum.reduceat(found[:, 1, order], starts, axis=1))
    live = (rows != DEAD)[:, None] & (cols != DEAD)
    summed = rows.astype(np.int64)[:, None] + cols
    return Extremes(summed[live], low[live], high[live])
