"""What narrows step by step: the elements that a rule still has in question."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pool:
    """Elements of a 1-D tensor in their order, and their indices in it (int64, ascending; None: all of them)."""

    values: Tensor
    places: Tensor | None = None

    def at(self, chosen: Tensor) -> Tensor:
        """Return the tensor's indices of some elements of the pool."""
        return chosen if self.places is None else self.places[chosen]

    def keep(self, chosen: Tensor) -> Pool:
        """Return the pool of some of its elements."""
        return Pool(self.values[chosen], self.at(chosen))
