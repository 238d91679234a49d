"""How each model is trained in rounds: its data, clients, local optimizer and steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thinwire.lab.gradients.recipes import RECIPES, NewOptimizer, Prepared
from thinwire.lab.tasks import digits
from thinwire.lab.tasks.wide_deep import click_loss
from thinwire.lab.updates import tables


@dataclass(frozen=True)
class Recipe:
    """One model and the way its clients train it. The update recorded is that of client 0 in round `rounds`.

    `prepare` takes a data folder and uses what ships with the dependencies where that lacks its files; `has_data` says
    whether a folder has the files that it would rather use. In a round every client takes `steps` local steps of
    `batch_rows` rows with a fresh optimizer, and the server averages, weighted by rows.
    """

    summary: str
    prepare: Callable[[Path | None], Prepared]
    has_data: Callable[[Path], bool]
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: NewOptimizer
    batch_rows: int
    steps: int
    clients: int
    rounds: int
    partition: str = "dirichlet(0.5)"


def _digits(_root: Path | None) -> Prepared:
    return Prepared("digits", digits.load().train, _wide_mlp)


def _wide_mlp() -> nn.Module:
    sizes = (64, 1024, 1024, 10)
    first, second, third = (nn.Linear(*pair) for pair in pairwise(sizes))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)


def _incomes(root: Path | None) -> Prepared:
    there = root is not None and tables.has_census(root)
    name, rows = ("adult", tables.census(root)) if root and there else ("breast-cancer", tables.tumours())
    return Prepared(name, rows, lambda: tables.wide_deep(rows))


def _like(model: str, summary: str, optimizer: NewOptimizer, **how: int | str) -> Recipe:
    """Return a recipe with the data and the loss of a recorded gradient."""
    known = RECIPES[model]
    return Recipe(summary, known.prepare, known.has_data, known.loss, optimizer, **how)  # type: ignore[arg-type]


CNN: dict[str, int | str] = {"batch_rows": 32, "steps": 20, "clients": 3, "rounds": 3}
GPT: dict[str, int | str] = {"batch_rows": 8, "steps": 15, "clients": 3, "rounds": 4, "partition": "iid"}

UPDATES: dict[str, Recipe] = {
    "mlp-sgd": Recipe(
        "MLP 64-1024-1024-10 on digits, SGD",
        _digits,
        lambda root: False,
        cross_entropy,
        lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        batch_rows=16,
        steps=20,
        clients=10,
        rounds=6,
    ),
    "cnn-sgd": _like(
        "cnn", "CNN on images, SGD with momentum", lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9), **CNN
    ),
    "cnn-adamw": _like("cnn", "CNN on images, AdamW", lambda ps: torch.optim.AdamW(ps, lr=1e-3), **CNN),
    "gpt-sgd": _like("gpt", "character GPT, SGD", lambda ps: torch.optim.SGD(ps, lr=0.1), **GPT),
    "gpt-adamw": _like("gpt", "character GPT, AdamW", lambda ps: torch.optim.AdamW(ps, lr=1e-3), **GPT),
    "wide-deep": Recipe(
        "Wide & Deep with two embedding tables, SGD",
        _incomes,
        tables.has_census,
        click_loss,
        lambda parameters: torch.optim.SGD(parameters, lr=0.2),
        batch_rows=32,
        steps=200,
        clients=10,
        rounds=3,
        partition="dirichlet(1)",
    ),
}
