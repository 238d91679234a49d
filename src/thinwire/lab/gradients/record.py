"""Train and keep the gradients of some steps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from thinwire.lab.gradients.recipes import RECIPES, Prepared, Recipe
from thinwire.lab.one_thread import one_thread
from thinwire.lab.tasks.base import Rows, Training, shuffled_batches, unknown
from thinwire.lab.tasks.weights import initialised

Gradient = dict[str, Tensor]
"""Parameter name -> raw gradient, float32, in the model's order."""


class BadData(ValueError):
    """A file in the data folder is not of its format, or cannot be read."""


@dataclass(frozen=True)
class Recording:
    """Gradients of one training run by step, counted from 1, and the loss of every step before it."""

    model: str
    data: str
    gradients: Mapping[int, Gradient]
    losses: tuple[float, ...]


def record(model: str, steps: Collection[int], root: Path | None = None, seed: int = 0) -> Recording:
    """Train a model of `RECIPES` and return the gradients of `steps` (counted from 1), before the optimizer's share.

    The same arguments, files and versions give the same gradients. One thread, a private generator.
    Raises ValueError for an unknown model and steps below 1, BadData for files that are not what they should be.
    """
    if model not in RECIPES:
        raise unknown("model", model, RECIPES)
    if not steps or min(steps) < 1:
        raise ValueError(f"steps are {sorted(steps)}, expected one or more, counted from 1")
    recipe = RECIPES[model]
    try:
        prepared = recipe.prepare(root)
    except (ValueError, OSError) as error:
        raise BadData(str(error)) from error
    with one_thread():
        return _train(model, recipe, prepared, steps, seed)


def flat(gradient: Mapping[str, Tensor]) -> Tensor:
    """Return a gradient as one vector: its tensors one after the other."""
    return torch.cat([tensor.reshape(-1) for tensor in gradient.values()])


def _train(name: str, recipe: Recipe, prepared: Prepared, steps: Collection[int], seed: int) -> Recording:
    model = initialised(prepared.architecture, seed)
    optimizer = recipe.optimizer(model.parameters())
    found: dict[int, Gradient] = {}
    losses = []
    for step, (*inputs, target) in zip(range(1, max(steps) + 1), _batches(recipe, prepared.rows, seed), strict=False):
        optimizer.zero_grad()
        loss = recipe.loss(model(*inputs), target)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        if step in steps:
            found[step] = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
    return Recording(name, prepared.data, found, tuple(losses))


def _batches(recipe: Recipe, rows: Rows, seed: int) -> Iterator[Rows]:
    epoch = Training(batch_size=recipe.batch_rows)
    number = 0
    while True:
        yield from shuffled_batches(rows, epoch, seed + number)
        number += 1
