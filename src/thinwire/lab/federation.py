"""A task as Flower apps: clients that train on their part, a server that evaluates the global model every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray
from torch import nn

from thinwire.codec import derive_seed
from thinwire.lab.tasks import Task, Training
from thinwire.lab.tasks.base import Rows

Evaluate = Callable[[int, ArrayRecord], MetricRecord]
ARRAYS, METRICS, CONFIG = "arrays", "metrics", "config"


@dataclass(frozen=True)
class Trained:
    """One client's training in one round."""

    node_id: int
    train_s: float


@dataclass(frozen=True)
class Clients:
    """What all clients of a run share. ``trained`` grows by one entry per training: it costs no bytes on the link."""

    task: Task
    model: nn.Module
    rows: Rows
    parts: Sequence[NDArray[np.int64]]
    training: Training
    seed: int
    trained: list[Trained] = field(default_factory=list)

    def app(self) -> ClientApp:
        """Return an ordinary ClientApp; node configs say which part is a node's own."""
        app = ClientApp()
        app.train()(self.train)
        return app

    def train(self, message: Message, context: Context) -> Message:
        """Train the model that came in on this client's rows; seeds depend on run, round and partition alone."""
        started, told = time.perf_counter(), message.content.config_records[CONFIG]
        partition_id, round_ = context.node_config["partition-id"], told["server-round"]
        assert isinstance(partition_id, int)
        assert isinstance(round_, int)
        own = tuple(column[torch.from_numpy(self.parts[partition_id])] for column in self.rows)
        self.model.load_state_dict(message.content.array_records[ARRAYS].to_torch_state_dict())
        seed = derive_seed(self.seed, f"train/{round_}/{partition_id}")
        with proximal(self.model, told.get("proximal-mu", 0.0)):
            loss = self.task.train(self.model, own, self.training, seed)
        metrics = MetricRecord({"num-examples": len(own[-1]), "loss": loss})
        content = RecordDict({ARRAYS: ArrayRecord(self.model.state_dict()), METRICS: metrics})
        self.trained.append(Trained(context.node_id, time.perf_counter() - started))
        return Message(content, reply_to=message)


@contextmanager
def proximal(model: nn.Module, mu: object) -> Iterator[None]:
    """Add ``mu * (w - w_start)`` to every gradient inside the block: FedProx (Li et al. 2020, arXiv:1812.06127)."""
    hooks = [_pull(parameter, mu) for parameter in model.parameters() if isinstance(mu, int | float) and mu]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _pull(parameter: nn.Parameter, mu: float) -> torch.utils.hooks.RemovableHandle:
    start = parameter.detach().clone()
    hook: torch.utils.hooks.RemovableHandle = parameter.register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: gradient + mu * (parameter.detach() - start)
    )
    return hook


def server_app(
    strategy: Strategy, initial: nn.Module, rounds: int, evaluate: Evaluate, wrap: Callable[[Grid], Grid]
) -> ServerApp:
    """Return a ServerApp that runs a strategy over ``wrap(grid)`` from the weights of ``initial``.

    ``evaluate`` is called with round 0 and the initial arrays, then after every round.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        arrays = ArrayRecord(initial.state_dict())
        strategy.start(wrap(grid), arrays, num_rounds=rounds, evaluate_fn=evaluate)

    return app
