"""How each of the three models is trained: its data, loss, optimizer and batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thinwire.lab.gradients import text
from thinwire.lab.models import CharGPT, TextBag, image_cnn
from thinwire.lab.tasks import digits
from thinwire.lab.tasks.base import Rows
from thinwire.lab.tasks.folder import locate
from thinwire.lab.tasks.images import CLASSES, FASHION_MNIST, PLAIN_OR_GZIPPED, SIDE, TEST, TRAIN
from thinwire.lab.tasks.shakespeare import characters, play

DIGITS_SIDE = 8
CONTEXT = 64

NewOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Prepared:
    """Training rows, what they are called, and the model that fits them."""

    data: str
    rows: Rows
    architecture: Callable[[], nn.Module]


@dataclass(frozen=True)
class Recipe:
    """One model. `prepare` takes a data folder and uses what ships with the dependencies where that lacks its files.

    `has_data` says whether a folder has the files that it would rather use.
    """

    summary: str
    prepare: Callable[[Path | None], Prepared]
    has_data: Callable[[Path], bool]
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: NewOptimizer
    batch_rows: int


def _pictures(root: Path | None) -> Prepared:
    if root and _has_pictures(root):
        return Prepared("fashion-mnist", FASHION_MNIST.load(root).train, lambda: image_cnn(SIDE, CLASSES))
    flat, labels = digits.load().train
    images = flat.view(-1, 1, DIGITS_SIDE, DIGITS_SIDE)
    return Prepared("digits", (images, labels), lambda: image_cnn(DIGITS_SIDE, CLASSES))


def _has_pictures(root: Path) -> bool:
    # The task downloads what lacks; a recording only uses what is there.
    return bool(locate(root, FASHION_MNIST.folders[:-1], TRAIN + TEST, PLAIN_OR_GZIPPED))


def _characters(root: Path | None) -> Prepared:
    file = play(root)
    name, whole = (
        ("tiny-shakespeare", file.read_text(encoding="utf8")) if file else (text.PAGES, "".join(text.descriptions()))
    )
    ids, symbols = characters(whole)
    rows = (len(ids) - 1) // CONTEXT
    if not rows:
        raise ValueError(f"{file}: {len(ids)} characters, expected more than {CONTEXT}")
    columns = (ids[at : at + rows * CONTEXT].view(rows, CONTEXT) for at in (0, 1))
    return Prepared(name, tuple(columns), lambda: CharGPT(symbols, CONTEXT))


def _next_character(logits: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), target.flatten())


def _passages(root: Path | None) -> Prepared:
    file = text.news(root)
    name, found = ("ag-news", text.articles(file)) if file else (text.PAGES, text.described())
    rows = (text.features(found.texts), torch.tensor(found.labels, dtype=torch.int64))
    return Prepared(name, rows, lambda: TextBag(text.BUCKETS, found.classes))


RECIPES = {
    "cnn": Recipe(
        "a CNN of 0.4 to 3.3 million parameters on images",
        _pictures,
        _has_pictures,
        cross_entropy,
        lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        batch_rows=32,
    ),
    "gpt": Recipe(
        "a character GPT of 1.8 million parameters",
        _characters,
        lambda root: play(root) is not None,
        _next_character,
        lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        batch_rows=8,
    ),
    "embedding": Recipe(
        "a text classifier of 2.1 million parameters, nearly all of them in the table of word embeddings",
        _passages,
        lambda root: text.news(root) is not None,
        cross_entropy,
        lambda parameters: torch.optim.Adagrad(parameters, lr=0.02),
        batch_rows=64,
    ),
}
