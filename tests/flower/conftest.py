"""A small real Flower app: every client pulls the model half of the way to a target of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Result, Strategy

from thinwire.flower.local import LocalGrid, quiet_flwr, run_local

SHAPES = {"hidden.weight": (24, 16), "hidden.bias": (24,), "out.weight": (4, 24)}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet_flwr():
        yield


def target(partition: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(partition)
    return {name: rng.normal(partition, 1.0, shape).astype(np.float32) for name, shape in SHAPES.items()}


def distance(arrays: ArrayRecord, partition: int) -> float:
    return float(sum(np.sum((arrays[name].numpy() - goal) ** 2) for name, goal in target(partition).items()))


def train(message: Message, context: Context) -> Message:
    partition, arrays = int(context.node_config["partition-id"]), message.content["arrays"]
    seen = context.state.setdefault("seen", MetricRecord({"count": 0}))
    seen["count"] += 1
    half = {
        name: Array((arrays[name].numpy() + goal).astype(np.float32) / 2) for name, goal in target(partition).items()
    }
    metrics = MetricRecord({"num-examples": partition + 1, "distance": distance(arrays, partition)})
    return Message(RecordDict({"arrays": ArrayRecord(half), "metrics": metrics}), reply_to=message)


def evaluate(message: Message, context: Context) -> Message:
    partition = int(context.node_config["partition-id"])
    metrics = MetricRecord({"num-examples": 1, "distance": distance(message.content["arrays"], partition)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@pytest.fixture
def client_app() -> ClientApp:
    """Train and evaluate; `context.state["seen"]["count"]` counts the training messages."""
    app = ClientApp()
    app.train()(train)
    app.evaluate()(evaluate)
    return app


@pytest.fixture
def initial_arrays() -> ArrayRecord:
    """A model of three float32 tensors, all zeros."""
    return ArrayRecord({name: Array(np.zeros(shape, np.float32)) for name, shape in SHAPES.items()})


RunStrategy = Callable[..., tuple[LocalGrid, Result]]


@pytest.fixture
def run_strategy(client_app: ClientApp, initial_arrays: ArrayRecord) -> RunStrategy:
    """Return `run(strategy, nodes, rounds, app=client_app, wrap=identity on ServerApps, **run_local options)`."""

    def run(
        strategy: Strategy, nodes: int = 4, rounds: int = 2, app: ClientApp = client_app, wrap=lambda x: x, **options
    ):
        results: list[Result] = []
        server_app = ServerApp()

        @server_app.main()
        def main(grid: Grid, context: Context) -> None:
            results.append(strategy.start(grid, initial_arrays, num_rounds=rounds, timeout=60))

        return run_local(wrap(server_app), app, nodes, **options), results[0]

    return run
