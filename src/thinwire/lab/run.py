"""One run: a config in, one JSON-able result out, bytes counted where they leave."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

import thinwire
from thinwire.flower import CompressedGrid, LocalGrid, compress_client, quiet_flwr, run_local
from thinwire.lab.config import RunConfig
from thinwire.lab.diverged import Diverged
from thinwire.lab.environment import environment
from thinwire.lab.federation import Clients, server_app
from thinwire.lab.one_thread import one_thread
from thinwire.lab.planned import slug
from thinwire.lab.record import Recorder, Row, totals
from thinwire.lab.strategies import strategy
from thinwire.lab.tasks import Data, data_dir, find, partition

__all__ = ["Diverged", "Row", "RunConfig", "prepare", "run"]

SCHEMA = "thinwire.run/1"
OnRound = Callable[[Row], None]


@dataclass(frozen=True)
class Prepared:
    """A task's data and which training rows are whose."""

    data: Data
    parts: list[NDArray[np.int64]]


def prepare(config: RunConfig) -> Prepared:
    """Load the data and deal it to clients.

    Raises DataNotFound where files lack, ValueError for damaged files and for rows that cannot be dealt like that.
    """
    data, training = _load(config.task, data_dir(config.data)), config.training
    data = data.first(config.rows)
    return Prepared(data, partition(training.partition)(data.classes, training.clients, config.seed))


@lru_cache(maxsize=1)
def _load(task: str, folder: Path | None) -> Data:
    return find(task).load(folder)


def run(config: RunConfig, on_round: OnRound | None = None, group: str = "", name: str = "") -> dict[str, Any]:
    """Run real Flower apps in this process and return the result in schema ``thinwire.run/1``.

    ``on_round`` is given each round's row as it ends, round 0 (the initial model) first. The same config gives the same
    result but for times. ``group`` and ``name`` label it in comparisons. Raises what ``prepare`` raises, and Diverged
    where the metric is not a number any more.
    """
    with one_thread(), quiet_flwr(logging.ERROR):
        return _run(config, on_round or (lambda row: None), group or config.task, name or group or config.task)


def _run(config: RunConfig, on_round: OnRound, group: str, name: str) -> dict[str, Any]:
    started, task, prepared = time.perf_counter(), config.found_task, prepare(config)
    training, model = config.training, task.model(config.seed)
    clients = Clients(task, task.model(config.seed), prepared.data.train, prepared.parts, training, config.seed)
    recorder = Recorder(task, model, prepared.data.test, clients.trained, on_round)

    def wrap(grid: Grid) -> Grid:
        assert isinstance(grid, LocalGrid)
        return recorder.watch(grid, _compressed(grid, config) if config.compressed else None)

    chosen = strategy(config.strategy).build(training.clients, config.fraction_train)
    server = server_app(chosen, model, training.rounds, recorder.evaluate, wrap)
    app = compress_client(clients.app()) if config.compressed else clients.app()
    run_local(server, app, training.clients, seed=config.seed)
    return {
        "schema": SCHEMA,
        "name": name,
        "slug": slug(group, config.seed),
        "group": group,
        "source": f"thinwire {thinwire.__version__}",
        "config": config.described(),
        "metric": {"name": task.metric, "higher_is_better": task.higher_is_better},
        "environment": environment(),
        "model": recorder.model_bytes(),
        "rounds": recorder.rows,
        "totals": totals(recorder.rows) | {"wall_s": time.perf_counter() - started},
        "final": {key: recorder.rows[-1][key] for key in ("metric", "loss")},
    }


def _compressed(grid: Grid, config: RunConfig) -> CompressedGrid:
    return CompressedGrid(grid, config.uplink or "none", config.downlink or "none", config.training.rounds)
