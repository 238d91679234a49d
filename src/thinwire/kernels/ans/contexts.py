"""Which table codes which element: every row and every column of a grid has a key, and keys add up.

A key holds a magnitude class (1 to 15, low 6 bits), a phase (1 to 6 for 0 to 150 degrees, or NO_PHASE; next 5 bits),
and half a turn more (bit 11), which flips the sign. The sum of a row's and a column's key holds the sums of both and
the product of both flips, if what it carries above is cut off. Rows and columns that are zero throughout are DEAD and
take no bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans import lookups
from thinwire.kernels.ans.alphabet import Alphabet

CLASSES = 16
PHASES = 6
NO_PHASE = 13
ANGLES = 2 * PHASES
"""How many angles two phases can make, as their sum less one; angle 0 is where one of them is missing."""
LOWEST_SUM = 2
"""The least sum of two classes that are not dead."""
DEAD = 0xFFFF
PHASE_SHIFT = 6
SIGN_BIT = PHASE_SHIFT + 5
KEYS = 1 << SIGN_BIT
"""Sums of two keys without their sign are below this."""

Keys = NDArray[np.uint16]


def keys(classes: NDArray[np.int64], phases: NDArray[np.int64]) -> Keys:
    """Return keys of classes (0: dead) and phases (0: none; negative: half a turn more)."""
    phase = np.where(phases == 0, NO_PHASE, np.abs(phases))
    live = classes + (phase << PHASE_SHIFT) + ((phases < 0).astype(np.int64) << SIGN_BIT)
    return np.where(classes == 0, DEAD, live).astype(np.uint16)


def angle_of(sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the angle of sums of two phases: 0 where either is missing, else 1 to 11."""
    return np.where(sums >= NO_PHASE, 0, sums - 1)


def by_sum(of_angles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what belongs to every sum of two phases, from what belongs to every angle (ANGLES)."""
    return of_angles[np.clip(angle_of(np.arange(KEYS >> PHASE_SHIFT)), 0, ANGLES - 1)]


@dataclass(frozen=True, eq=False)
class Grid:
    """``count`` elements as rows of ``width``, the last one perhaps shorter, with keys of rows and columns."""

    count: int
    width: int
    rows: Keys
    cols: Keys

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """The columns that are not dead."""
        return np.flatnonzero(self.cols != DEAD)

    @cached_property
    def live_rows(self) -> int:
        """How many rows are not dead."""
        return int(np.count_nonzero(self.rows != DEAD))

    @property
    def most(self) -> int:
        """At least as many symbols as are coded."""
        return self.live_rows * self.places.size

    @property
    def last(self) -> int:
        """How many columns of the last row are coded."""
        inside = self.count - (len(self.rows) - 1) * self.width
        return int(np.searchsorted(self.places, inside))

    @property
    def coded(self) -> int:
        """How many symbols are coded."""
        return self.most - (self.places.size - self.last) * int(self.rows[-1] != DEAD)

    def slice(self, first: int, end: int) -> Grid:
        """Return the grid of some rows."""
        inside = min(end * self.width, self.count) - first * self.width
        return replace(self, count=inside, rows=self.rows[first:end])


@dataclass(frozen=True, eq=False)
class Coder:
    """The alphabet, the tables' starts (tables, tokens + 1), and the table of every sum of two keys (KEYS)."""

    alphabet: Alphabet
    starts: NDArray[np.uint16]
    table_of: NDArray[np.uint16]

    @cached_property
    def base(self) -> NDArray[np.int64]:
        """The least magnitude of every signed token, negative for negative ones."""
        magnitudes = self.alphabet.base[1:]
        both = np.stack([-magnitudes, magnitudes], 1).reshape(-1)
        return np.concatenate([[0], both])[: self.starts.shape[1] - 1]

    @cached_property
    def extra(self) -> NDArray[np.uint8]:
        """The raw bits of every signed token."""
        extra = np.concatenate([[0], np.repeat(self.alphabet.extra[1:], 2)])
        return extra[: self.starts.shape[1] - 1].astype(np.uint8)

    @cached_property
    def encoding(self) -> lookups.Encoding:
        """What the compiled encoder looks up."""
        return lookups.encoding(self.alphabet, self.starts, self.table_of)

    @cached_property
    def decoding(self) -> lookups.Decoding:
        """What the compiled decoder looks up."""
        return lookups.decoding(np.where(self.extra > 0, lookups.LATER, self.base), self.starts, self.table_of)
