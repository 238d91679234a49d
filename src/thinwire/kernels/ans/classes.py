"""Classes of rows and columns: what stands between a tensor's order and its tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thinwire.kernels.ans.contexts import Grid, keys
from thinwire.kernels.ans.tables import Ints


@dataclass(frozen=True, eq=False)
class Classes:
    """Magnitude classes of rows and columns (1 to 15; 0: zero throughout), and phases (-6 to 6; 0: none).

    An update is roughly a matrix of rank two under noise. Magnitudes go by classes, as if it were of rank one: rows and
    columns have scales of their own. Signs go by angles: rows and columns are points in a plane, whose inner product
    has the sign of the cosine between them. A phase is a twelfth of a turn; -p is half a turn further than p.
    """

    rows: Ints
    cols: Ints
    row_phases: Ints
    col_phases: Ints

    def grid(self, count: int) -> Grid:
        """Return the grid of ``count`` elements that these classes are of."""
        return Grid(count, len(self.cols), keys(self.rows, self.row_phases), keys(self.cols, self.col_phases))


def plain(count: int, width: int) -> Classes:
    """Return one class and phase for all."""
    rows, cols = np.ones(-(-count // width), np.int64), np.ones(width, np.int64)
    return Classes(rows, cols, rows, cols)
