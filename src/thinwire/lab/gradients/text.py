"""English text: tiny Shakespeare and AG News where a data folder has them, else what scikit-learn says of its data."""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from thinwire.lab.models.text_bag import PADDING
from thinwire.lab.tasks.folder import locate

WORDS = 32
FEATURES = 2 * WORDS - 1
BUCKETS = 1 << 16
STRIDE = 8
PAGES = "scikit-learn-pages"


@dataclass(frozen=True)
class Passages:
    """Texts with a class each, and how many classes there are."""

    texts: Sequence[Sequence[str]]
    labels: Sequence[int]
    classes: int


def news(root: Path | None) -> Path | None:
    """Return the file of AG News (its test part) in a data folder, if it is there."""
    found = locate(root, ("ag_news_csv",), ("test.csv",)) if root else []
    return found[0] if found else None


def descriptions() -> list[str]:
    """Return the pages on data sets that ship with scikit-learn, about 43,000 characters in all."""
    folder = files("sklearn.datasets").joinpath("descr")
    pages = sorted((page for page in folder.iterdir() if page.name.endswith(".rst")), key=lambda page: page.name)
    return [page.read_text(encoding="utf8") for page in pages]


def words(text: str) -> list[str]:
    """Return the words of a text, in small letters."""
    return re.findall(r"[a-z0-9']+", text.lower())


def described() -> Passages:
    """Return overlapping passages of scikit-learn's pages; the class is the page that a passage is from."""
    pages = [words(page) for page in descriptions()]
    cut = [(page[at : at + WORDS], label) for label, page in enumerate(pages) for at in range(0, len(page), STRIDE)]
    return Passages([text for text, _ in cut], [label for _, label in cut], len(pages))


def articles(path: Path) -> Passages:
    """Read AG News: class 1 to 4, title, description. Raises ValueError for lines that are not of the format."""
    with path.open(encoding="utf8", newline="") as file:
        rows = list(csv.reader(file))
    if not rows:
        raise ValueError(f"{path}: no rows; expected a class from 1 to 4, a title and a text in each")
    for line, row in enumerate(rows, 1):
        if len(row) != 3 or row[0] not in ("1", "2", "3", "4"):
            raise ValueError(f"{path}, row {line}: expected a class from 1 to 4, a title and a text; got {row}")
    return Passages([words(f"{row[1]} {row[2]}")[:WORDS] for row in rows], [int(row[0]) - 1 for row in rows], 4)


def features(texts: Sequence[Sequence[str]]) -> Tensor:
    """Return int64 [texts, FEATURES]: hash buckets of the first words and of their pairs, 0 where there is none."""
    ids = torch.full((len(texts), FEATURES), PADDING, dtype=torch.int64)
    for row, text in enumerate(texts):
        found = [*text[:WORDS], *map(" ".join, pairwise(text[:WORDS]))]
        ids[row, : len(found)] = torch.tensor([_bucket(feature) for feature in found], dtype=torch.int64)
    return ids


def _bucket(feature: str) -> int:
    return 1 + zlib.crc32(feature.encode()) % (BUCKETS - 1)
