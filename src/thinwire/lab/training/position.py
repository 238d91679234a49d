"""How far a run is, and how far it goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """Whole steps so far, the epoch, and the rows of it that all workers together have had.

    Rows and not steps are kept, so that another number of workers goes on in the same place of the same epoch's order.
    """

    step: int = 0
    epoch: int = 0
    rows: int = 0

    def begun(self, step_rows: int) -> int:
        """Return how many steps of ``step_rows`` (all workers together) of the epoch are over, one begun included."""
        return -(-self.rows // step_rows)

    def settled(self, step_rows: int, epoch_steps: int) -> Position:
        """Return the same place where steps take ``step_rows``: an epoch with no whole step left is over."""
        return Position(self.step, self.epoch + 1) if self.begun(step_rows) >= epoch_steps else self

    def after_step(self, step_rows: int, epoch_steps: int) -> Position:
        """Return the position one step on; the last step of an epoch leads to the start of the next."""
        done = (self.begun(step_rows) + 1) * step_rows
        return Position(self.step + 1, self.epoch, done).settled(step_rows, epoch_steps)

    def all_steps(self, step_rows: int, epoch_steps: int, epochs: int, most: int | None) -> int:
        """Return the steps of the whole run: those so far, and those to the end of ``epochs``, ``most`` if given."""
        left = max(0, (epochs - self.epoch) * epoch_steps - self.begun(step_rows))
        return min(self.step + left, most or self.step + left)
