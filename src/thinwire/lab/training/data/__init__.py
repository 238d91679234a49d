"""Data of distributed training: `DATASETS` by name, and each rank's `Batches` of them."""

from __future__ import annotations

from thinwire.lab.tasks.folder import DataNotFound
from thinwire.lab.training.data.base import Batch, Dataset, DatasetSpec, Rows
from thinwire.lab.training.data.batches import Batches, in_order
from thinwire.lab.training.data.catalogue import DATASETS, DEFAULT, find

__all__ = [
    "DATASETS",
    "DEFAULT",
    "Batch",
    "Batches",
    "DataNotFound",
    "Dataset",
    "DatasetSpec",
    "Rows",
    "find",
    "in_order",
]
