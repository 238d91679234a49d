"""What a data set of distributed training is: rows to train on, rows to test on, and what a model must know of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from thinwire.lab.models.catalogue import Kind
from thinwire.lab.tasks.folder import ENVIRONMENT_NAME, DataNotFound, data_dir

Batch = tuple[Tensor, Tensor]
"""Inputs and targets: float32 [B, channels, H, W] and int64 [B], or int64 [B, T] and int64 [B, T]."""


class Rows(Protocol):
    """Rows that a batch is made of, on the CPU."""

    def __len__(self) -> int:
        """Return how many rows there are."""
        ...

    def take(self, rows: Tensor) -> Batch:
        """Return the batch of these row numbers, int64 [B]."""
        ...

    def augmented(self, draws: np.random.Generator) -> Rows:
        """Return the same rows changed by chance, as one epoch sees them; raises ValueError where that has no sense."""
        ...


@dataclass(frozen=True)
class Dataset:
    """Rows of one kind; `outputs` is how many classes or symbols, `options` what `ModelSpec.build` takes besides."""

    name: str
    kind: Kind
    train: Rows
    test: Rows
    outputs: int
    options: Mapping[str, int]


@dataclass(frozen=True)
class DatasetSpec:
    """One data set by name; `read` takes a data folder or None and, for text, `context` and `unit`."""

    summary: str
    kind: Kind
    read: Callable[..., Dataset]

    def load(self, root: str | Path | None = None, **options: Any) -> Dataset:
        """Return the data from `root`, else from the folder in the environment, else downloaded or as they ship.

        Text takes `context`, the tokens of a window, and `unit`, "characters" or "words". Raises DataNotFound where
        files lack and cannot be had, ValueError for files that are not what they should be and for bad options.
        """
        return self.read(data_dir(root), **options)


def missing(name: str, root: Path | None, expected: str) -> DataNotFound:
    """Return the error for a data set whose files are not under `root`."""
    looked = f"looked in {root}" if root else "no data folder was given"
    return DataNotFound(
        f"dataset {name}: {looked}, expected {expected}; name the folder by --data FOLDER or {ENVIRONMENT_NAME}"
    )


def checked_folder(name: str, root: Path | None, expected: str) -> None:
    """Raise DataNotFound for a data folder that was named and does not exist: it is a slip, and is not created."""
    if root and not root.is_dir():
        raise missing(name, root, expected)
