"""The first rows of a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from thinwire.lab.training.data.base import Batch, Dataset, Rows


@dataclass(frozen=True, eq=False)
class First:
    """The first ``count`` of ``rows``, or all where there are fewer."""

    rows: Rows
    count: int

    def __len__(self) -> int:
        """Return how many there are."""
        return min(self.count, len(self.rows))

    def take(self, rows: Tensor) -> Batch:
        """Return the batch of these row numbers, int64 [B]."""
        return self.rows.take(rows)

    def augmented(self, draws: np.random.Generator) -> First:
        """Return the same rows as one epoch sees them. Raises ValueError where that has no sense."""
        return First(self.rows.augmented(draws), self.count)


def limited(dataset: Dataset, count: int | None) -> Dataset:
    """Return a data set with the first rows to train on and the first to test on only, all if None."""
    if count is None:
        return dataset
    return replace(dataset, train=First(dataset.train, count), test=First(dataset.test, count))
