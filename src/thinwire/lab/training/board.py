"""TensorBoard's files, where that is asked for and installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from thinwire.lab.training.records import Records


class Board(Protocol):
    """What is used of TensorBoard's SummaryWriter."""

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point."""
        ...


@contextmanager
def board(out: Path | None, before: Records) -> Iterator[Callable[[Records], None]]:
    """Give a function to call with the records after every epoch: it writes what is new to ``<out>/tensorboard``.

    ``before``: what an earlier part of the run has drawn. ``out`` None: it does nothing. Raises ModuleNotFoundError
    where TensorBoard is not installed.
    """
    if out is None:
        yield lambda records: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(out / "tensorboard")) as writer:
        yield Drawn(writer, before)


class Drawn:
    """Draws each step and each epoch once."""

    def __init__(self, writer: Board, before: Records) -> None:
        self._writer, self._steps, self._epochs = writer, len(before.steps["loss"]), len(before.epochs)

    def __call__(self, records: Records) -> None:
        """Draw what is new."""
        for name, column in records.steps.items():
            for step in range(self._steps, len(column)):
                self._writer.add_scalar(f"step/{name}", column[step], step + 1)
        for row in records.epochs[self._epochs :]:
            self._epoch(row)
        self._steps, self._epochs = len(records.steps["loss"]), len(records.epochs)

    def _epoch(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name not in ("step", "epoch") and value is not None:
                self._writer.add_scalar(f"epoch/{name}", value, row["step"])
