"""What classes are fitted to: a part of the symbols of large tensors, and costs in integers.

Costs are in 1/16 bit, so that every machine and every order of summation finds the same classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from thinwire.kernels.ans.alphabet import Symbols
from thinwire.kernels.ans.counting import PHASE_SUMS, Costs, Survey
from thinwire.kernels.ans.tables import Ints

UNIT = 16
UNSHIFTED = np.zeros(PHASE_SUMS, np.int64)
BIG = 1 << 28
"""The cost of a class that is no candidate."""
_ENOUGH = 256
"""So many symbols that are not zero tell the class of a row or column well enough."""
LARGE = 1 << 22
"""Tensors of so many symbols are sampled."""
_MOST = 8192
_TALLIED, _ROWS = 1 << 16, 16


@dataclass(frozen=True, eq=False)
class Sample:
    """Symbols as rows, and how many of them to look at: every ``across``-th of a row, every ``down``-th of a column.

    Tables are fitted to every ``tallied``-th row. ``loops`` has ``tally`` and ``refine``.
    """

    values: Symbols
    loops: ModuleType
    width: int
    across: int
    down: int
    tallied: int

    @property
    def picked(self) -> Ints:
        """The rows that tables are fitted to."""
        return np.arange(0, -(-self.values.size // self.width), self.tallied)


def sample(values: Symbols, seen: Survey, loops: ModuleType) -> Sample:
    """Return the sample that tells the classes of the rows and columns that a survey is of."""
    density = seen.found / values.size
    sides = len(seen.rows), len(seen.cols)
    live = int(np.count_nonzero(seen.rows)) * int(np.count_nonzero(seen.cols))
    enough = _ENOUGH if values.size < LARGE else _ENOUGH // 2
    down, across = (max(1, int(side * density) // enough, -(-side // _MOST)) for side in sides)
    return Sample(values, loops, sides[1], across, down, max(1, min(live // _TALLIED, sides[0] // _ROWS)))


def naming(classes: Ints, candidates: int) -> Costs:
    """Return what naming each candidate costs, by how common it is."""
    counts = np.bincount(classes, minlength=candidates) + 0.5
    return np.asarray(np.rint(-UNIT * np.log2(counts / counts.sum())), np.int32)
