"""Batches that depend on seed, epoch and step alone, so that training resumes in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from thinwire.lab.training.data.base import Batch, Rows

ORDER, CHANGES = 0, 1
"""Purposes of draws: an epoch's order does not depend on whether its rows are augmented."""


@dataclass(frozen=True)
class Batches:
    """One rank's batches of `batch_size` rows, every epoch in an order of its own.

    All ranks together take `batch_size * world` rows a step, each its own, in the order that one rank with the larger
    batch would take them. Rows that fill no step of all ranks are left out, others in every epoch. Raises ValueError
    for numbers out of range, and where the rows do not fill one step.
    """

    rows: Rows
    batch_size: int
    seed: int = 0
    augment: bool = False
    rank: int = 0
    world: int = 1
    _drawn: dict[int, tuple[Tensor, Rows]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not 0 <= self.rank < self.world or self.seed < 0:
            raise ValueError(
                f"expected a batch size above 0, a rank from 0 below the world size and a seed from 0; got "
                f"{self.batch_size}, rank {self.rank} of {self.world} and seed {self.seed}"
            )
        if not len(self):
            raise ValueError(
                f"{len(self.rows)} rows do not fill one step of {self.world} ranks with a batch of {self.batch_size} "
                f"each; {self._advice()}"
            )

    def _advice(self) -> str:
        """Say what would fill a step."""
        rows = len(self.rows)
        if rows >= self.world:
            return f"take a batch of at most {rows // self.world}"
        return f"take at most {rows} ranks, or more rows" if rows else "there is nothing to train on"

    def shard(self, rank: int, world: int) -> Batches:
        """Return the batches of one of `world` ranks."""
        return replace(self, rank=rank, world=world)

    def __len__(self) -> int:
        """Return the steps of an epoch, the same on all ranks."""
        return len(self.rows) // (self.batch_size * self.world)

    def at(self, epoch: int, step: int) -> Batch:
        """Return one batch; raises IndexError for a step that the epoch does not have."""
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} of an epoch of {len(self)}")
        order, rows = self._epoch(epoch)
        first = (step * self.world + self.rank) * self.batch_size
        return rows.take(order[first : first + self.batch_size])

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `first` on."""
        return (self.at(epoch, step) for step in range(first, len(self)))

    def _epoch(self, epoch: int) -> tuple[Tensor, Rows]:
        if epoch not in self._drawn:
            self._drawn.clear()
            self._drawn[epoch] = self._draw(epoch)
        return self._drawn[epoch]

    def _draw(self, epoch: int) -> tuple[Tensor, Rows]:
        order, changes = (np.random.default_rng([self.seed, epoch, purpose]) for purpose in (ORDER, CHANGES))
        rows = self.rows.augmented(changes) if self.augment else self.rows
        return torch.from_numpy(order.permutation(len(rows))), rows


def in_order(rows: Rows, batch_size: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
    """Yield every `world`-th row from `rank` on, for evaluation: no row is left out, the last batch may be smaller.

    A rank may have one row more than another, or none.
    """
    mine = torch.arange(len(rows))[rank::world]
    return (rows.take(mine[at : at + batch_size]) for at in range(0, len(mine), batch_size))
