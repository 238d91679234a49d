"""Rules that guess a threshold: near enough, and what reaches it is sent; too far off, and exact selection decides."""

from __future__ import annotations

from abc import abstractmethod
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor

from thinwire.codec import State
from thinwire.codecs.sparse.pairs import Sparsifier, check_density, kept_count
from thinwire.kernels import select


class Guessed(Sparsifier):
    """Sends between ``least * k`` and ``most * k`` elements, ``k = max(1, int(density * n))``, whatever the tensor.

    The elements are always the largest: those that reach a threshold, or exactly k where no guess counts well enough.
    """

    density: float

    least: ClassVar[Fraction] = Fraction(1)
    most: ClassVar[Fraction] = Fraction(1)

    def __post_init__(self) -> None:
        check_density(type(self).__name__, self.density)

    @abstractmethod
    def guess(self, flat: Tensor, k: int) -> tuple[float, int]:
        """Return a threshold and how many magnitudes reach it; 0 < k < n. The count decides: no guess is trusted."""

    def fits(self, count: int, k: int) -> bool:
        """Return whether ``count`` elements may be sent in place of k."""
        return self.least * k <= count <= self.most * k

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Guess, then compare or select exactly."""
        k = kept_count(self.density, flat.numel())
        if k == flat.numel():
            return torch.arange(k, device=flat.device), {}
        threshold, count = self.guess(flat, k)
        if self.fits(count, k):
            return select.at_least(flat, threshold), {}
        return select.largest(flat, k), {}
