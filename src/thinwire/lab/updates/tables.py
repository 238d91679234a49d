"""Rows for Wide & Deep: the census of UCI Adult where a data folder has it, else a table that scikit-learn brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from thinwire.lab.tasks import adult
from thinwire.lab.tasks.base import Rows
from thinwire.lab.tasks.folder import locate
from thinwire.lab.tasks.hashing import bucket_ids
from thinwire.lab.tasks.wide_deep import WideDeep, rows_of

CATEGORIES = 12
"""Columns that are cut into bins, each bin a category; neighbours are crossed, as the census's columns are."""
BINS = 10


def has_census(root: Path) -> bool:
    """Say whether a folder has the files of the adult task."""
    return bool(locate(root, adult.FOLDERS, adult.FILES))


def census(root: Path) -> Rows:
    """Return the training rows of the adult task."""
    return adult.load(root).train


def tumours() -> Rows:
    """Return ids int32 [569, 22], numeric float32 [569, 5], target float32: breast cancer, binned, crossed."""
    from sklearn.datasets import load_breast_cancer

    values, target = load_breast_cancer(return_X_y=True)
    edges = np.quantile(values[:, :CATEGORIES], np.arange(1, BINS) / BINS, axis=0)
    columns = {str(at): [str(bin) for bin in np.digitize(values[:, at], edges[:, at])] for at in range(CATEGORIES)}
    numeric = (values - values.mean(axis=0)) / values.std(axis=0)
    crosses = tuple((str(at), str(at + 1)) for at in range(len(adult.CROSSES)))
    features = (*((name,) for name in columns), *crosses)
    return rows_of(bucket_ids(columns, features, adult.BUCKETS), numeric[:, -len(adult.NUMERIC) :], target == 1)


def wide_deep(rows: Rows) -> nn.Module:
    """Return the adult task's model for rows of any number of features and numbers."""
    ids, numeric, _ = rows
    return WideDeep(adult.BUCKETS, ids.shape[1], numeric.shape[1], adult.DIM)
