"""Reconstruction points: the mean of what each magnitude stands for, so that no other point has a smaller error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

UNITS = 256
"""Offsets travel in 256ths of a step."""
LOWEST, HIGHEST = -128, 127


@dataclass(frozen=True, eq=False)
class Sums:
    """Of what became magnitude 0, 1, 2 and 3 or more: how many, the sum of ``a - magnitude`` and that of its square."""

    of: NDArray[np.float64]
    SIZE: ClassVar[int] = 12

    @property
    def count(self) -> NDArray[np.float64]:
        """How many elements (4)."""
        return self.of[0::3]

    @property
    def excess(self) -> NDArray[np.float64]:
        """Sums of ``a - magnitude`` (4), in steps."""
        return self.of[1::3]

    @property
    def squares(self) -> NDArray[np.float64]:
        """Sums of ``(a - magnitude)**2`` (4), in squared steps."""
        return self.of[2::3]


def points(sums: Sums) -> tuple[NDArray[np.float64], float]:
    """Return the offsets (3) of magnitudes 1, 2 and 3 or more, in whole UNITS of a step, and the squared error left."""
    mean = sums.excess[1:] / np.maximum(sums.count[1:], 1.0)
    offsets = np.clip(np.rint(mean * UNITS), LOWEST, HIGHEST) / UNITS
    left = sums.squares[1:] - 2 * offsets * sums.excess[1:] + offsets * offsets * sums.count[1:]
    return offsets, float(sums.squares[0] + left.sum())
