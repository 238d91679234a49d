"""What a task is: data, a model, local training and a metric."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from thinwire.lab.tasks.weights import initialised

EVALUATION_ROWS = 1024
OPTIMIZERS = ("SGD", "Adagrad")

Rows = tuple[Tensor, ...]


@dataclass(frozen=True)
class Data:
    """Rows to train on and rows to test on: tensors of equal length, the model's inputs first, the target last.

    `groups` is what each training row is dealt to clients by; its target, if None.
    """

    train: Rows
    test: Rows
    groups: Tensor | None = None

    @property
    def classes(self) -> Tensor:
        """Return what a partition deals the training rows by, [rows]."""
        return self.train[-1] if self.groups is None else self.groups

    def first(self, rows: int | None) -> Data:
        """Return the same with the first rows to train on and the first to test on only, all if None."""
        groups = None if self.groups is None else self.groups[:rows]
        train, test = (tuple(column[:rows] for column in part) for part in (self.train, self.test))
        return replace(self, train=train, test=test, groups=groups)


@dataclass(frozen=True)
class Training:
    """Default hyper-parameters of a federated run.

    Raises ValueError for an unknown optimizer and for numbers out of range.
    """

    clients: int = 10
    rounds: int = 20
    local_epochs: int = 1
    batch_size: int = 32
    lr: float = 0.1
    momentum: float = 0.0
    optimizer: str = "SGD"
    partition: str = "dirichlet(0.5)"

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("clients", "rounds", "local_epochs", "batch_size", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)!r}")
        if not 0 <= self.momentum < 1 or (self.momentum and self.optimizer != "SGD"):
            raise ValueError(f"momentum must be in [0, 1), and 0 unless optimizer is SGD, got {self.momentum!r}")


@dataclass(frozen=True)
class Task:
    """A data set with the model that learns it, the loss that trains it and the metric that judges it.

    `load` takes a data folder (None: the task's own default) and raises DataNotFound where files lack.
    `architecture` builds the model, whose initial weights `model` then draws. `loss` takes logits and targets and
    returns their mean loss; `score` takes those of the whole test set and returns the metric.
    """

    name: str
    summary: str
    metric: str
    training: Training
    load: Callable[[Path | None], Data]
    architecture: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]
    higher_is_better: bool = True

    def model(self, seed: int) -> nn.Module:
        """Return a new model, the same bytes for the same seed; the global random state is neither read nor changed."""
        return initialised(self.architecture, seed)

    def train(self, model: nn.Module, data: Rows, training: Training, seed: int) -> float:
        """Train `model` in place on one client's rows and return the mean loss seen; the same seed, the same result.

        The optimizer starts fresh and decays no weights, so that an embedding row that no sample of this client looks
        up keeps its exact value, and the client's update is exactly zero there.
        """
        optimizer = new_optimizer(model, training)
        model.train()
        loss_sum = torch.zeros(())
        for *inputs, target in shuffled_batches(data, training, seed):
            optimizer.zero_grad()
            loss = self.loss(model(*inputs), target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += loss.detach() * len(target)
        return loss_sum.item() / (len(data[-1]) * training.local_epochs)

    def evaluate(self, model: nn.Module, data: Rows) -> tuple[float, float]:
        """Return (metric, mean loss) of `model` on `data`."""
        model.eval()
        with torch.inference_mode():
            logits = torch.cat([model(*inputs) for *inputs, _ in batches(data, EVALUATION_ROWS)])
            return self.score(logits, data[-1]), self.loss(logits, data[-1]).item()


def new_optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Return the fresh local optimizer that `training` names."""
    if training.optimizer == "SGD":
        return torch.optim.SGD(model.parameters(), lr=training.lr, momentum=training.momentum)
    return torch.optim.Adagrad(model.parameters(), lr=training.lr)


def batches(data: Rows, batch_size: int) -> Iterator[Rows]:
    """Yield `data` in consecutive pieces of `batch_size` rows, the last one perhaps smaller."""
    return zip(*(torch.split(column, batch_size) for column in data), strict=True)


def shuffled_batches(data: Rows, training: Training, seed: int) -> Iterator[Rows]:
    """Yield the batches of all local epochs, each epoch in its own order drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(training.local_epochs):
        order = torch.randperm(len(data[-1]), generator=generator)
        yield from batches(tuple(column[order] for column in data), training.batch_size)


def unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not known, with the known ones and the nearest."""
    choices = list(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    return ValueError(f"unknown {what} {name!r}; known: {', '.join(choices)}{hint}")
