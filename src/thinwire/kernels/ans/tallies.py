"""Counts that tables are fitted to: of every symbol, or of some rows of a large tensor, and then its extremes.

Rows are picked from every class. Tables must hold every token that comes at all, so the extremes are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from thinwire.kernels.ans.alphabet import Symbols
from thinwire.kernels.ans.blocks import fitting_loops
from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.contexts import by_sum
from thinwire.kernels.ans.counting import Tally
from thinwire.kernels.ans.extremes import Extremes, extremes
from thinwire.kernels.ans.sample import LARGE
from thinwire.kernels.ans.tables import Ints

_SAMPLED = 1 << 21
_FEWEST = 8
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, eq=False)
class Counting:
    """Counts symbols by the classes of their rows and columns."""

    values: Symbols
    classes: Classes

    def tally(self, moved: Ints) -> Tally:
        """Return the tally, about right for large tensors; ``moved`` are the shifts of every angle."""
        loops = fitting_loops(self.values.size)
        grid, shifts = self.classes.grid(self.values.size), by_sum(moved)
        if self.values.size < LARGE:
            return loops.tally(self.values, grid, shifts, np.arange(len(grid.rows)))  # type: ignore[no-any-return]
        rows, parts = self.classes.rows, []
        for kind in np.unique(rows[rows > 0]):
            members = np.flatnonzero(rows == kind)
            picked = _picked(members, self.values.size // _SAMPLED)
            parts.append(_scaled(loops.tally(self.values, grid, shifts, picked), len(members) / len(picked)))
        together = Tally(*(sum(getattr(part, name) for part in parts) for name in ("magnitudes", "signs", "joint")))
        self.extremes.hold(together, shifts)
        return together

    @cached_property
    def extremes(self) -> Extremes:
        """What comes at all."""
        return extremes(self.values, self.classes.grid(self.values.size), fitting_loops(self.values.size))


def _picked(members: Ints, share: int) -> Ints:
    """Return one row of so many, and a few at least, at distances that follow no period."""
    count = min(len(members), max(_FEWEST, len(members) // share))
    at = (np.arange(count) + np.arange(count) * _GOLDEN % 1) * (len(members) / count)
    return members[np.minimum(at.astype(np.int64), len(members) - 1)]


def _scaled(part: Tally, by: float) -> Tally:
    return Tally(*(np.rint(x * by).astype(np.int64) for x in (part.magnitudes, part.signs, part.joint)))
