"""What a run writes down: a column of numbers a step, a row an epoch. It travels with the checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

BYTES = ("sent_bytes", "dense_bytes")
"""Sums over all workers: what was sent, and what ring all-reduces of the same gradients would send."""
COUNTS = ("kept", "wanted")
"""Sums over all workers: elements that sparse codecs selected, and what their densities asked for."""
TIMES = ("forward_s", "backward_s", "encode_s", "exposed_s", "update_s")
"""Means over the workers: backward without what it waited for, encoding and decoding, that waiting, the optimizer."""

_SUMS, _MEANS = (*BYTES, *COUNTS), ("loss", *TIMES)
COLUMNS = ("loss", *_SUMS, *TIMES)


@dataclass(frozen=True)
class StepRow:
    """One step of one worker."""

    loss: float
    sent_bytes: int
    dense_bytes: int
    kept: int
    wanted: int
    forward_s: float
    backward_s: float
    encode_s: float
    exposed_s: float
    update_s: float


@dataclass
class Records:
    """What all workers recorded, as JSON-able columns, and what this one has not put to it yet."""

    steps: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    epochs: list[dict[str, Any]] = field(default_factory=list)
    wall_s: float = 0.0
    _new: list[Sequence[StepRow]] = field(default_factory=list)
    _since: float = field(default_factory=time.perf_counter)

    @property
    def closed_steps(self) -> int:
        """How many steps the rows of epochs hold."""
        return int(self.epochs[-1]["step"]) if self.epochs else 0

    def add(self, rows: Sequence[StepRow]) -> None:
        """Note a step of this process's workers."""
        self._new.append(rows)

    def gather(self, workers: int) -> None:
        """Put what all workers noted together; all processes call it, after the same steps."""
        numbers = torch.tensor([_summed(rows, _MEANS) for rows in self._new], dtype=torch.float64)
        counts = torch.tensor([_summed(rows, _SUMS) for rows in self._new], dtype=torch.int64)
        if self._new:
            dist.all_reduce(numbers)
            dist.all_reduce(counts)
            for name, column in zip(_MEANS, (numbers / workers).T.tolist(), strict=True):
                self.steps[name] += column
            for name, total in zip(_SUMS, counts.T.tolist(), strict=True):
                self.steps[name] += total
        self._new = []
        now = time.perf_counter()
        self.wall_s, self._since = self.wall_s + now - self._since, now

    def close_epoch(self, epoch: int, first: int, lr: float, metric: str, value: float, loss: float) -> dict[str, Any]:
        """Add the row of the steps from number ``first`` on (from 0) and of the evaluation after them; return it."""
        own = {name: column[first:] for name, column in self.steps.items()}
        row = {
            "epoch": epoch,
            "step": len(self.steps["loss"]),
            "train_loss": sum(own["loss"]) / max(len(own["loss"]), 1),
            "loss": loss,
            metric: value if math.isfinite(value) else None,
            "lr": lr,
            **{name: sum(own[name]) for name in (*_SUMS, *TIMES)},
            "wall_s": self.wall_s,
        }
        self.epochs.append(row)
        return row

    def saved(self) -> dict[str, Any]:
        """Return all that was gathered, JSON-able."""
        return {"steps": self.steps, "epochs": self.epochs, "wall_s": self.wall_s}

    @classmethod
    def of(cls, saved: dict[str, Any]) -> Records:
        """Invert ``saved``."""
        return cls(saved["steps"], saved["epochs"], saved["wall_s"])

    def totals(self) -> dict[str, Any]:
        """Return sums over all steps, how many times fewer bytes were sent than by dense all-reduces, and k accuracy.

        ``k_ratio`` is what sparse codecs kept of what was wanted, None where nothing was.
        """
        sums = {name: sum(self.steps[name]) for name in (*_SUMS, *TIMES)}
        ratio = sums["dense_bytes"] / sums["sent_bytes"] if sums["sent_bytes"] else 1.0
        k_ratio = sums["kept"] / sums["wanted"] if sums["wanted"] else None
        return {"steps": len(self.steps["loss"]), **sums, "ratio": ratio, "k_ratio": k_ratio, "wall_s": self.wall_s}


def _summed(rows: Sequence[StepRow], names: Sequence[str]) -> list[float]:
    return [sum(getattr(row, name) for row in rows) for name in names]
