"""The adult task: does a person of the 1994 US census earn over 50,000 dollars? Wide & Deep on the UCI files.

Columns, crosses and age buckets follow the census example that came with Wide & Deep. The local optimizer is plain SGD:
it federates within 0.003 AUC of central training and keeps the tables' updates proportional to what a client saw,
where Adam and Adagrad overfit within three epochs and step alike for rare and frequent rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from thinwire.lab.tasks.base import Data, Task, Training
from thinwire.lab.tasks.folder import locate, not_found
from thinwire.lab.tasks.hashing import bucket_ids
from thinwire.lab.tasks.metrics import auc
from thinwire.lab.tasks.wide_deep import WideDeep, click_loss, rows_of

FILES = ("adult.data", "adult.test")
FOLDERS = ("adult", ".")
COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)
# fnlwgt is left out: it is the census's sampling weight, not a trait of the person.
NUMERIC = ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")
HEAVY_TAILED = ("capital-gain", "capital-loss")
EDGES = {
    "age": (18, 25, 30, 35, 40, 45, 50, 55, 60, 65),
    "hours-per-week": (20, 30, 40, 41, 50, 60),
    "capital-gain": (1, 3000, 5000, 7000, 10000, 50000),
    "capital-loss": (1, 1700, 1900, 2200),
}
CATEGORIES = (
    *("workclass", "education", "marital-status", "occupation", "relationship", "race", "sex", "native-country"),
    *(f"{name}-bucket" for name in EDGES),
)
CROSSES = (
    ("education", "occupation"),
    ("native-country", "occupation"),
    ("age-bucket", "education", "occupation"),
    ("workclass", "occupation"),
    ("workclass", "education"),
    ("marital-status", "age-bucket"),
    ("relationship", "education"),
    ("hours-per-week-bucket", "occupation"),
    ("capital-gain-bucket", "age-bucket"),
    ("age-bucket", "relationship", "hours-per-week-bucket"),
)
FEATURES = (*((name,) for name in CATEGORIES), *CROSSES)
BUCKETS = 4096
DIM = 16
INCOMES = ("<=50K", ">50K")


def load(root: Path | None) -> Data:
    """Return ids int32 [rows, 22], numeric float32 [rows, 5], target float32 [rows] from `root`/adult or `root`.

    Numbers are standardised by the training rows, the capital ones after log1p; a missing value `?` is a category of
    its own. Raises DataNotFound where the files lack, ValueError for lines that are not of the format.
    """
    found = locate(root, FOLDERS, FILES) if root else []
    if not found:
        raise not_found("adult", root, "adult/adult.data and adult/adult.test (UCI Machine Learning Repository, Adult)")
    train, test = (read(path) for path in found)
    mean, deviation = train.numeric.mean(axis=0), train.numeric.std(axis=0) + 1e-12
    return Data(
        train=rows_of(train.ids, (train.numeric - mean) / deviation, train.target),
        test=rows_of(test.ids, (test.numeric - mean) / deviation, test.target),
    )


@dataclass(frozen=True)
class Census:
    """One census file: hashed features [rows, 22], numbers to be standardised [rows, 5], who earns more [rows]."""

    ids: NDArray[np.int32]
    numeric: NDArray[np.float64]
    target: NDArray[np.bool_]


def read(path: Path) -> Census:
    """Read adult.data or adult.test; empty lines and the remark at the top of the latter are left out.

    Raises ValueError for a line without 15 fields, a number that is none or negative, and an unknown income.
    """
    columns = _columns(path)
    numbers = {name: _numbers(columns[name], name, path) for name in NUMERIC}
    buckets = {f"{name}-bucket": [str(b) for b in np.digitize(numbers[name], EDGES[name])] for name in EDGES}
    scaled = [np.log1p(numbers[name]) if name in HEAVY_TAILED else numbers[name] for name in NUMERIC]
    return Census(
        ids=bucket_ids(columns | buckets, FEATURES, BUCKETS),
        numeric=np.stack(scaled, axis=1),
        target=np.array(columns["income"]) == INCOMES[1],
    )


def _columns(path: Path) -> dict[str, list[str]]:
    lines = enumerate(path.read_text(encoding="utf8").splitlines(), start=1)
    rows = [_fields(line, path, number) for number, line in lines if line.strip() and not line.startswith("|")]
    if not rows:
        raise ValueError(f"{path}: no rows; expected lines of {len(COLUMNS)} fields")
    return {name: list(column) for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=True)}


def _fields(line: str, path: Path, number: int) -> list[str]:
    # In adult.test, and only there, every line ends in a full stop.
    fields = [field.strip() for field in line.strip().removesuffix(".").split(",")]
    if len(fields) != len(COLUMNS) or fields[-1] not in INCOMES:
        raise ValueError(
            f"{path}, line {number}: expected {len(COLUMNS)} fields, the last one of {' or '.join(INCOMES)}; "
            f"got {len(fields)}, the last one {fields[-1]!r}"
        )
    return fields


def _numbers(values: list[str], name: str, path: Path) -> NDArray[np.float64]:
    try:
        numbers = np.array(values, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: column {name}: {error}") from error
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError(f"{path}: column {name}: expected finite numbers from 0 up")
    return numbers


def wide_deep() -> nn.Module:
    """Return WideDeep with 4,096 buckets and embeddings of 16: 124k parameters, 56 % of them in the two tables."""
    return WideDeep(BUCKETS, features=len(FEATURES), numerics=len(NUMERIC), dim=DIM)


TASK = Task(
    name="adult",
    summary="US census incomes (UCI Adult), Wide & Deep of 124k parameters; needs files, half a minute",
    metric="auc",
    training=Training(rounds=15, local_epochs=2, batch_size=32, lr=0.2, partition="dirichlet(1)"),
    load=load,
    architecture=wide_deep,
    loss=click_loss,
    score=auc,
)
