"""The avazu task: does a mobile advertisement get a click? Wide & Deep on the Kaggle click log of 2014, streamed.

Every column is categorical and hashed. The local optimizer is plain SGD, for the adult task's reasons.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from torch import nn

from thinwire.lab.tasks.base import Data, Task, Training
from thinwire.lab.tasks.folder import locate, not_found
from thinwire.lab.tasks.hashing import bucket_ids
from thinwire.lab.tasks.metrics import auc
from thinwire.lab.tasks.wide_deep import WideDeep, click_loss, rows_of

SUFFIXES = (".csv", ".csv.gz", ".gz", "")
FOLDERS = ("avazu", ".")
CATEGORIES = (
    *("C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"),
    *("device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
    *(f"C{number}" for number in range(14, 22)),
)
HEADER = ("id", "click", "hour", *CATEGORIES)
CROSSES = (
    ("site_id", "banner_pos"),
    ("app_id", "device_model"),
    ("site_category", "hour_of_day"),
    ("app_category", "device_conn_type"),
)
FEATURES = (*((name,) for name in (*CATEGORIES, "hour_of_day", "weekday")), *CROSSES)
ROW_LIMIT = 500_000
CHUNK_ROWS = 20_000
TEST_SHARE = 0.1
BUCKETS = 65_536
DIM = 8

Table = list[list[str]]
Hashed = tuple[NDArray[np.int32], NDArray[np.bool_]]


def load(root: Path | None, row_limit: int = ROW_LIMIT) -> Data:
    """Return ids int32 [rows, 27], numeric float32 [rows, 0], target float32 [rows] from the first `row_limit` rows.

    The file is `root`/avazu or `root` / train.csv, train or train.gz. The log is in order of time, and its last tenth
    is the test set. Raises DataNotFound where the file lacks, ValueError for lines that are not of the format.
    """
    found = locate(root, FOLDERS, ["train"], SUFFIXES) if root else []
    if not found:
        raise not_found(
            "avazu", root, "avazu/train.csv or avazu/train.gz (Kaggle, Avazu Click-Through Rate Prediction)"
        )
    ids, clicks = read(found[0], row_limit)
    cut = len(clicks) - max(1, round(len(clicks) * TEST_SHARE))
    numeric = np.zeros((len(clicks), 0))
    return Data(
        train=rows_of(ids[:cut], numeric[:cut], clicks[:cut]),
        test=rows_of(ids[cut:], numeric[cut:], clicks[cut:]),
    )


def read(path: Path, row_limit: int = ROW_LIMIT, chunk_rows: int = CHUNK_ROWS) -> Hashed:
    """Return (ids int32 [rows, 27], clicks bool [rows]); of the text only `chunk_rows` rows are held at a time."""
    hashed = [_hash(table, path, line) for line, table in chunks(path, row_limit, chunk_rows)]
    if sum(len(clicks) for _, clicks in hashed) < 2:
        raise ValueError(f"{path}: expected two rows or more, one to train on and one to test on")
    return np.concatenate([ids for ids, _ in hashed]), np.concatenate([clicks for _, clicks in hashed])


def chunks(path: Path, row_limit: int, chunk_rows: int) -> Iterator[tuple[int, Table]]:
    """Yield (line number of the first row, up to `chunk_rows` rows) from the first `row_limit` rows of `path`."""
    try:
        with _open(path) as file:
            rows = csv.reader(file)
            if (header := next(rows, [])) != list(HEADER):
                raise ValueError(f"{path}: expected the header {','.join(HEADER)}, got {','.join(header)}")
            for start in range(0, row_limit, chunk_rows):
                if table := list(itertools.islice(rows, min(chunk_rows, row_limit - start))):
                    yield start + 2, table
    except (csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged file: {error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf8", newline="")
    return path.open(encoding="utf8", newline="")


def _hash(table: Table, path: Path, first_line: int) -> Hashed:
    for line, row in enumerate(table, first_line):
        if len(row) != len(HEADER) or row[1] not in ("0", "1"):
            raise ValueError(f"{path}, line {line}: expected {len(HEADER)} fields, the second 0 or 1; got {row}")
    columns = dict(zip(HEADER, zip(*table, strict=True), strict=True))
    times = {hour: _time(hour, path) for hour in set(columns["hour"])}
    columns["hour_of_day"] = tuple(str(times[hour].hour) for hour in columns["hour"])
    columns["weekday"] = tuple(str(times[hour].weekday()) for hour in columns["hour"])
    return bucket_ids(columns, FEATURES, BUCKETS), np.array(columns["click"]) == "1"


def _time(hour: str, path: Path) -> datetime:
    try:
        return datetime.strptime(hour, "%y%m%d%H")
    except ValueError as error:
        raise ValueError(f"{path}: column hour: expected YYMMDDHH, got {hour!r}") from error


def wide_deep() -> nn.Module:
    """Return WideDeep with 65,536 buckets and embeddings of 8: 626k parameters, 94 % of them in the two tables."""
    return WideDeep(BUCKETS, features=len(FEATURES), numerics=0, dim=DIM)


TASK = Task(
    name="avazu",
    summary="mobile advertisement clicks (Kaggle Avazu), Wide & Deep of 626k parameters; needs files, minutes",
    metric="auc",
    training=Training(rounds=10, batch_size=256, lr=0.2, partition="iid"),
    load=load,
    architecture=wide_deep,
    loss=click_loss,
    score=auc,
)
