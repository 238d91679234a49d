"""Local files in the shape of the public data sets that Flower's examples download, and nothing else changed.

``serve_locally`` answers `datasets.load_dataset`, through which the examples and flwr-datasets get all data:
partitions, shuffles and splits stay flwr-datasets' own. Where a set cannot be had offline, another takes its place
under the same columns: census rows for HIGGS and Titanic, SST-2 for IMDB.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_iris

TRAIN, TEST = 10_000, 2_000
"""Images of a set: the first ones of each part."""
HIGGS_TEST = 500_000
"""xgboost-comprehensive puts the last 500,000 training rows aside, more than there are: rows repeat that often."""


def _images(column: str, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> datasets.DatasetDict:
    features = datasets.Features({column: datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})

    def encoded(pixels: np.ndarray) -> dict[str, Any]:
        Image.fromarray(pixels).save(buffer := io.BytesIO(), "BMP")
        return {"bytes": buffer.getvalue(), "path": None}

    return datasets.DatasetDict(
        {
            name: datasets.Dataset.from_dict({column: [encoded(p) for p in x], "label": y.tolist()}, features)
            for name, (x, y) in parts.items()
        }
    )


def _idx(folder: Path, part: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    def read(kind: str, offset: int) -> np.ndarray:
        return np.frombuffer(gzip.open(folder / f"{part}-{kind}.gz").read(), np.uint8, offset=offset)

    return read("images-idx3-ubyte", 16).reshape(-1, 28, 28)[:n], read("labels-idx1-ubyte", 8)[:n].astype(int)


def _grey(data: Path, name: str) -> datasets.DatasetDict:
    folder = data / name / "raw"
    return _images("image", {"train": _idx(folder, "train", TRAIN), "test": _idx(folder, "t10k", TEST)})


def _cifar10(data: Path) -> datasets.DatasetDict:
    found = np.load(data / "cifar10" / "cifar10_10k_2k.npz")
    sizes = {"train": TRAIN, "test": TEST}
    return _images(
        "img", {part: (found[f"x_{part}"][:n], found[f"y_{part}"][:n].astype(int)) for part, n in sizes.items()}
    )


def _iris(columns: list[str], label: str, labels: list) -> datasets.DatasetDict:
    found = load_iris()
    table = dict(zip(columns, found.data.T.tolist(), strict=True))
    rows = {**table, label: [labels[i] for i in found.target]}
    return datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows).shuffle(seed=0)})


def census(data: Path, part: str = "adult.data") -> pd.DataFrame:
    """Return UCI Adult with the column names of the hub's copy."""
    names = (
        "age workclass fnlwgt education education.num marital.status occupation relationship race sex capital.gain "
        "capital.loss hours.per.week native.country income"
    )
    return pd.read_csv(data / "adult" / part, names=names.split(), skipinitialspace=True)


def _adult(data: Path) -> datasets.DatasetDict:
    return datasets.DatasetDict({"train": datasets.Dataset.from_pandas(census(data))})


def _higgs(data: Path) -> datasets.DatasetDict:
    table = census(data)
    codes = [table[c] if table[c].dtype.kind in "if" else table[c].astype("category").cat.codes for c in table]
    x = np.stack([np.asarray(c, np.float32) for c in codes], axis=1)
    part = datasets.Dataset.from_dict({"inputs": x[:, :-1].tolist(), "label": x[:, -1].tolist()})
    repeated = datasets.concatenate_datasets([part] * (1 + -(-HIGGS_TEST // len(part))))
    return datasets.DatasetDict({"train": repeated, "test": part.select(range(TEST))})


def titanic(data: Path, rows: int = 887) -> pd.DataFrame:
    """Return census rows under the passenger list's columns, with the names of Kaggle's file."""
    table = census(data)[:rows]
    titles = np.where(table["sex"] == "Male", "Mr.", np.where(table["marital.status"] == "Divorced", "Mrs.", "Miss."))
    return pd.DataFrame(
        {
            "PassengerId": np.arange(1, rows + 1),
            "Survived": (table["income"] == ">50K").astype(int),
            "Pclass": 1 + table["education.num"] // 6,
            "Name": table["race"] + ", " + titles + " " + table["occupation"],
            "Sex": table["sex"].str.lower(),
            "Age": table["age"].astype(float),
            "SibSp": table["hours.per.week"],
            "Parch": table["education.num"],
            "Ticket": table["fnlwgt"].astype(str),
            "Fare": table["capital.gain"].astype(float),
            "Cabin": table["relationship"],
            "Embarked": table["workclass"].str[0],
        }
    )


def _titanic(data: Path) -> datasets.DatasetDict:
    names = {"SibSp": "Siblings/Spouses Aboard", "Parch": "Parents/Children Aboard"}
    table = titanic(data).rename(columns=names).drop(columns=["PassengerId", "Ticket", "Cabin", "Embarked"])
    return datasets.DatasetDict({"train": datasets.Dataset.from_pandas(table)})


def _sst2(data: Path) -> datasets.DatasetDict:
    def part(name: str) -> datasets.Dataset:
        rows = [line.rstrip("\n").split("\t") for line in (data / "sst2" / name).open(encoding="utf8")]
        return datasets.Dataset.from_dict({"text": [r[0] for r in rows], "label": [int(r[1]) for r in rows]})

    return datasets.DatasetDict({"train": part("train.tsv"), "test": part("test.tsv")})


_CM = ["SepalLengthCm", "SepalWidthCm", "PetalLengthCm", "PetalWidthCm"]
_SETS: dict[str, Callable[[Path], datasets.DatasetDict]] = {
    "cifar10": _cifar10,
    "mnist": lambda data: _grey(data, "MNIST"),
    "fashion_mnist": lambda data: _grey(data, "FashionMNIST"),
    "imdb": _sst2,
    "higgs": _higgs,
    "adult-census-income": _adult,
    "titanic-survival": _titanic,
    "hitorilabs/iris": lambda data: _iris(
        ["sepal_length", "sepal_width", "petal_length", "petal_width"], "species", [0, 1, 2]
    ),
    "iris": lambda data: _iris(_CM, "Species", ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]),
}


def serve_locally(data: Path, older: bool) -> None:
    """Make `datasets.load_dataset` answer from the folder. It raises LookupError on a set that is not there.

    ``older``: for examples from when a data set's column was a whole array, and from a file that was left out.
    """
    read = cache(lambda name: _SETS[name](data))

    def load_dataset(path: str, name: str | None = None, split: str | None = None, **others: object) -> Any:
        known = path if path in _SETS else path.rsplit("/", 1)[-1]
        if known not in _SETS:
            raise LookupError(f"no local files stand in for {path!r}; known: {', '.join(_SETS)}")
        # Apps set formats in place: each gets tables of its own over the same memory.
        fresh = datasets.DatasetDict({part: rows.select(range(len(rows))) for part, rows in read(known).items()})
        return fresh if split is None else fresh[split]

    datasets.load_dataset = load_dataset
    if older:
        read_csv = pd.read_csv
        pd.read_csv = lambda path, **how: titanic(data) if Path(path).name == "train.csv" else read_csv(path, **how)
        datasets.arrow_dataset.Column = lambda table, name: table[:][name]
