"""Gaps and what coders want to know of them, each measured once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from thinwire.kernels.indices import loops
from thinwire.kernels.indices.reference import Integers

_ONE_BYTE = 8
_TOLD_APART = 1 << 10


def entropy_bytes(values: Integers) -> float:
    """Return at most the bytes that a memoryless code of non-negative integers takes: those of their entropy."""
    counts = np.bincount(np.minimum(values, _TOLD_APART))
    counts = counts[counts > 0]
    return float(values.size * np.log2(values.size) - (counts * np.log2(counts)).sum()) / 8


@dataclass(frozen=True, eq=False)
class Gaps:
    """At least one gap (int64, from 0): how many indices are skipped since the one before."""

    values: Integers

    @property
    def size(self) -> int:
        """Number of gaps, which is that of the indices."""
        return self.values.size

    @cached_property
    def total(self) -> int:
        """How many indices are skipped in all."""
        return int(self.values.sum())

    @property
    def last(self) -> int:
        """The last index."""
        return self.total + self.size - 1

    @cached_property
    def runs(self) -> int:
        """How many stretches of consecutive indices there are."""
        return int(np.count_nonzero(self.values[1:])) + 1

    @cached_property
    def near(self) -> int:
        """How many indices are within eight of the one before: two in a byte of a bitmap, more often than not."""
        return int(np.count_nonzero(self.values < _ONE_BYTE))

    @cached_property
    def rice(self) -> tuple[int, int]:
        """Width of the low parts that makes Golomb-Rice codes shortest, and the sum of the high parts.

        Golomb 1966; Rice and Plaunt 1971.
        """
        width = (self.total // self.size).bit_length()
        above = self._high_sum(width)
        # The bits are convex in the width, and above the mean's width they only grow.
        while width and (high := self._high_sum(width - 1)) <= above + self.size:
            width, above = width - 1, high
        return width, above

    def least_bytes(self, width: int) -> float:
        """Return what a memoryless code of the parts above the low ``width`` bits takes at least."""
        return entropy_bytes(self.values >> width)

    def _high_sum(self, width: int) -> int:
        total: int = loops.of(self.size).high_sum(self.values, width)
        return total
