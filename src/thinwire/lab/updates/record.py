"""Average clients for some rounds and keep what the first one sends in the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from thinwire.codec import derive_seed
from thinwire.delta import subtract
from thinwire.lab.gradients import BadData
from thinwire.lab.gradients.recipes import Prepared
from thinwire.lab.one_thread import one_thread
from thinwire.lab.tasks.base import Rows, Training, shuffled_batches, unknown
from thinwire.lab.tasks.partition import partition
from thinwire.lab.tasks.weights import initialised
from thinwire.lab.updates.recipes import UPDATES, Recipe

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Update:
    """What one client sends: parameter name -> its new weights minus those it received, float32, in the model's order.

    `previous` is what the round before changed in the global model: both ends of a link know it. `losses` are those of
    the client's local steps.
    """

    name: str
    data: str
    round: int
    tensors: Mapping[str, Tensor]
    previous: Mapping[str, Tensor]
    losses: tuple[float, ...]

    @property
    def elements(self) -> int:
        """How many elements the tensors have together."""
        return sum(x.numel() for x in self.tensors.values())


def record(name: str, root: Path | None = None, seed: int = 0) -> Update:
    """Train by a recipe of `UPDATES` and return the first client's update in its last round.

    The same arguments, files and versions give the same update. One thread, private generators. Raises ValueError for
    an unknown name, BadData for files that are not what they should be.
    """
    if name not in UPDATES:
        raise unknown("update", name, UPDATES)
    recipe = UPDATES[name]
    try:
        prepared = recipe.prepare(root)
    except (ValueError, OSError) as error:
        raise BadData(str(error)) from error
    with one_thread():
        return _federated(name, recipe, prepared, seed)


def _federated(name: str, recipe: Recipe, prepared: Prepared, seed: int) -> Update:
    model = initialised(prepared.architecture, seed)
    parts = _dealt(recipe, prepared.rows, seed)
    weights, before = _weights(model), {}
    for round_ in range(1, recipe.rounds):
        before = weights
        trained = [_trained(recipe, model, weights, own, _seed(seed, round_, at))[0] for at, own in enumerate(parts)]
        weights = _averaged(trained, [len(own[-1]) for own in parts])
    new, losses = _trained(recipe, model, weights, parts[0], _seed(seed, recipe.rounds, 0))
    return Update(name, prepared.data, recipe.rounds, subtract(new, weights), subtract(weights, before), losses)


def _dealt(recipe: Recipe, rows: Rows, seed: int) -> list[Rows]:
    target = rows[-1] if rows[-1].dim() == 1 else rows[-1][:, 0]
    parts = partition(recipe.partition)(target, recipe.clients, seed)
    return [tuple(column[torch.from_numpy(part)] for column in rows) for part in parts]


def _trained(
    recipe: Recipe, model: nn.Module, weights: Weights, own: Rows, seed: int
) -> tuple[Weights, tuple[float, ...]]:
    model.load_state_dict(weights)
    optimizer, losses = recipe.optimizer(model.parameters()), []
    for *inputs, target in islice(_batches(own, recipe.batch_rows, seed), recipe.steps):
        optimizer.zero_grad()
        loss = recipe.loss(model(*inputs), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return _weights(model), tuple(losses)


def _batches(rows: Rows, batch_rows: int, seed: int) -> Iterator[Rows]:
    for number in range(1 << 31):
        yield from shuffled_batches(rows, Training(batch_size=batch_rows), derive_seed(seed, str(number)))


def _seed(seed: int, round_: int, client: int) -> int:
    return derive_seed(seed, f"{round_}/{client}")


def _weights(model: nn.Module) -> Weights:
    return {name: x.detach().clone() for name, x in model.state_dict().items()}


def _averaged(trained: Sequence[Weights], rows: Sequence[int]) -> Weights:
    shares = [count / sum(rows) for count in rows]
    return {
        name: torch.stack([share * weights[name] for share, weights in zip(shares, trained, strict=True)]).sum(dim=0)
        for name in trained[0]
    }
