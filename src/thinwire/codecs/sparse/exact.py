"""Exact selection: the k largest magnitudes, or all from a threshold up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Codec, State
from thinwire.codecs.sparse.pairs import Sparsifier, check_density, kept_count
from thinwire.kernels import select
from thinwire.registry import child


@dataclass(frozen=True)
class TopK(Sparsifier, id="topk", tag=20):
    """The ``max(1, int(density * n))`` elements of largest magnitude, exactly; ties go to the lowest index."""

    density: float
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def __post_init__(self) -> None:
        check_density("TopK", self.density)

    def decoder(self) -> Codec:
        """Return itself: frames of the first version say TopK."""
        return self

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Select without sorting; see ``kernels.select``."""
        return select.largest(flat, kept_count(self.density, flat.numel())), {}

    def select_each(
        self, flat: Tensor, lengths: Sequence[int], seeds: Sequence[int], histories: Sequence[State]
    ) -> list[tuple[Tensor, State]]:
        """Select from all in one call."""
        counts = [kept_count(self.density, length) for length in lengths]
        return [(places, {}) for places in select.largest_of_each(flat, lengths, counts)]

    def accumulate(self, residual: Tensor, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Add and select in one sweep."""
        return select.accumulate_largest(residual, flat, kept_count(self.density, flat.numel())), {}


@dataclass(frozen=True)
class Threshold(Sparsifier, id="threshold", tag=22):
    """The elements whose magnitude is at least ``threshold`` (in the tensor's own units); none is legal."""

    threshold: float
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, int | float) or not 0 < self.threshold < float("inf"):
            raise ValueError(f"Threshold: threshold is {self.threshold!r}, expected a positive number")

    def decoder(self) -> Codec:
        """Return itself: frames of the first version say Threshold."""
        return self

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Compare."""
        return select.at_least(flat, self.threshold), {}
