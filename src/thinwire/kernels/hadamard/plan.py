"""How a tensor is cut into blocks that are rotated, and what both ends of a link draw from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels.permutation import random_subset, random_words

LEAST = 64
"""Elements of the smallest block, and bits of a word: in smaller blocks rotated elements are not nearly normal."""
PARTS = 256
_DRAWS = 4


@dataclass(frozen=True)
class Run:
    """``count`` blocks of ``size`` elements, from element ``start``."""

    start: int
    count: int
    size: int

    @property
    def end(self) -> int:
        """Where the run ends."""
        return self.start + self.count * self.size


@dataclass(frozen=True)
class Plan:
    """A tensor of ``numel`` elements in blocks of a power of two; ``fine`` of 256 get one bit more than ``bits``."""

    numel: int
    block: int
    bits: int
    fine: int
    turns: int

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """As many whole blocks as there are, then one of each smaller power of two that the rest takes.

        The rest is filled up to a multiple of 64 first.
        """
        found = [Run(0, self.numel // self.block, self.block)] if self.numel >= self.block else []
        rest = -(-(self.numel % self.block) // LEAST) * LEAST
        for power in reversed(range(rest.bit_length())):
            if rest >> power & 1:
                found.append(Run(found[-1].end if found else 0, 1, 1 << power))
        return tuple(found)

    @property
    def padded(self) -> int:
        """Elements with the padding: a multiple of 64."""
        return self.runs[-1].end if self.runs else 0

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return sum(run.count for run in self.runs)

    @property
    def fines(self) -> int:
        """How many elements get one bit more."""
        return sum(run.count * self._fines(run.size) for run in self.runs)

    def signs(self, seed: int) -> NDArray[np.uint64]:
        """Return (turns, padded / 64) words of random bits."""
        return np.stack([random_words(self.padded // LEAST, seed * _DRAWS + turn) for turn in range(self.turns)])

    def mask(self, size: int, seed: int) -> Tensor:
        """Return uint8 (size), not to be changed: 1 for the elements of a block of that size that get one bit more."""
        return _mask(size, self._fines(size), seed)

    def _fines(self, size: int) -> int:
        return -(-size * self.fine // PARTS)


@lru_cache(16)
def _mask(size: int, fines: int, seed: int) -> Tensor:
    """Return what all blocks of a size share; a tensor asks for it more than once."""
    chosen = torch.zeros(size, dtype=torch.uint8)
    chosen[random_subset(size, fines, seed)] = 1
    return chosen
