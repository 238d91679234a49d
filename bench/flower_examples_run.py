"""One of Flower's examples in this process: loaded from its folder, run as it is or with thinwire's line; measured."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import logging
import os
import random
import re
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Message
from flwr.server.history import History
from flwr.serverapp.strategy import Result

from thinwire.flower import LocalGrid, compress_client, compress_server, run_local


@dataclass(frozen=True)
class App:
    """An example.

    Attributes:
        name: what the report calls it.
        folder: where it is, below the examples folder.
        metric: the final figure to compare, of those that the app reports; `text` finds those that it only prints.
        nodes: how many SuperNodes its README asks for, or Flower's default.
        config: overrides of its run config.
        older: it lies in the older checkout.
        text: a pattern with one group for a number; its last match in what the app prints and logs is the metric.
    """

    name: str
    folder: str
    metric: str
    nodes: int = 10
    config: Mapping[str, Any] = field(default_factory=dict)
    older: bool = False
    text: str = ""


def run_app(app: App, folder: Path, seed: int, side: str) -> dict[str, Any]:
    """Run an app once from fresh modules in an empty folder; a crash is a result too.

    ``side`` is "stock", or thinwire's uplink and downlink: one for both ("auto"), or two with a slash between.
    """
    started, found = time.perf_counter(), dict[str, Any]()
    found.update(app=app.name, seed=seed, side=side)
    said = _Warnings()
    with _fresh(folder), _empty_folder() as here, _listened(said) as (log, made):
        _seed(seed, keras="tensorflow" in app.name)
        failed: list[str] = []
        try:
            grid = _run(app, folder, seed, side, here, failed)
            found.update(_traffic(grid))
        except Exception as error:
            logging.getLogger(__name__).warning("%s crashed", app.name, exc_info=error)
            found["crashed"] = f"{type(error).__name__}: {error}"[:500]
        text = log.getvalue()
        found.update(_reported(app, made, text), errors=dict(Counter(failed).most_common(3)), warnings=said.lines[:3])
        found["failures"] = sum(map(int, re.findall(r"(\d+) failures", text)))
        ledger = here / "ledger.json"
        if ledger.exists():
            transfers = json.loads(ledger.read_text())["transfers"]
            found["transfers"] = dict(Counter(f"{t['direction']} {t['kind']}" for t in transfers))
    found["seconds"] = round(time.perf_counter() - started, 1)
    return found


def _run(app: App, folder: Path, seed: int, side: str, here: Path, failed: list[str]) -> LocalGrid:
    described = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    server, client = (_load(described["components"][part]) for part in ("serverapp", "clientapp"))
    if side != "stock":
        up, _, down = side.partition("/")
        client, server = (
            compress_client(client),
            compress_server(server, up, down or up, ledger=str(here / "ledger.json")),
        )

    def watch(message: Message) -> bool:
        if message.has_error():
            failed.append(str(message.error.reason)[:300])
        return False

    config = {**_flat(described["config"]), **app.config}
    return run_local(server, client, app.nodes, config, drop=watch, seed=seed)


def _load(description: str) -> Any:
    module, name = description.split(":")
    return getattr(importlib.import_module(module), name)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value})
    return flat


def _seed(seed: int, keras: bool) -> None:
    random.seed(seed), torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if keras:  # its generator outlives a run, so that the next one would begin with other weights
        module = importlib.import_module("keras")
        module.backend.clear_session(), module.utils.set_random_seed(seed)


@contextlib.contextmanager
def _fresh(folder: Path) -> Iterator[None]:
    """Import from the folder inside the block, and forget afterwards what was imported: examples cache in globals."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


@contextlib.contextmanager
def _empty_folder() -> Iterator[Path]:
    """Examples save models where they run."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


class _Warnings(logging.Handler):
    """Keeps the warnings of thinwire's own log, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        if (line := record.getMessage()[:400]) not in self.lines:
            self.lines.append(line)


@contextlib.contextmanager
def _listened(said: logging.Handler) -> Iterator[tuple[io.StringIO, list]]:
    """Keep what is printed and logged, and every result object that Flower makes."""
    text, made = io.StringIO(), list[Any]()
    handler, logger = logging.StreamHandler(text), logging.getLogger("flwr")
    before = {kind: kind.__init__ for kind in (Result, History)}

    def noted(kind: type) -> Any:
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            before[kind](self, *args, **kwargs)
            made.append(self)

        return init

    logger.addHandler(handler)
    logging.getLogger("thinwire").addHandler(said)
    for kind in before:
        kind.__init__ = noted(kind)
    try:
        with contextlib.redirect_stdout(text):
            yield text, made
    finally:
        logger.removeHandler(handler)
        logging.getLogger("thinwire").removeHandler(said)
        for kind, init in before.items():
            kind.__init__ = init


def _traffic(grid: LocalGrid) -> dict[str, Any]:
    sums = {"up": 0, "down": 0}
    for moved in grid.traffic:
        sums[moved.direction] += moved.engine_bytes
    return {
        "bytes": sum(sums.values()),
        **{f"{way}_bytes": n for way, n in sums.items()},
        "messages": len(grid.traffic),
    }


def _reported(app: App, made: list, text: str) -> dict[str, Any]:
    metrics: dict[str, float] = {}
    rounds, model = 0, ""
    for result in made:
        if isinstance(result, Result):
            by_round = {
                "train": result.train_metrics_clientapp,
                "clients": result.evaluate_metrics_clientapp,
                "server": result.evaluate_metrics_serverapp,
            }
            for who, records in by_round.items():
                last = dict(records[max(records)]) if records else {}
                metrics.update({f"{who} {k}": v for k, v in last.items() if isinstance(v, int | float)})
            rounds = max([rounds, *result.train_metrics_clientapp, *result.evaluate_metrics_clientapp])
            arrays = [array.numpy() for array in result.arrays.values()]
            model = _hash(f"{x.dtype}{x.shape}".encode() + x.tobytes() for x in arrays)  # values, whatever their layout
        else:
            series = {
                "clients loss": result.losses_distributed,
                "server loss": result.losses_centralized,
                **{f"train {k}": v for k, v in result.metrics_distributed_fit.items()},
                **{f"clients {k}": v for k, v in result.metrics_distributed.items()},
                **{f"server {k}": v for k, v in result.metrics_centralized.items()},
            }
            metrics.update({k: v[-1][1] for k, v in series.items() if v and isinstance(v[-1][1], int | float)})
            rounds = max([rounds, *(v[-1][0] for v in series.values() if v)])
    if app.text:
        printed = re.findall(app.text, text)
        metrics["printed"], model = (float(printed[-1]) if printed else float("nan")), _hash([repr(printed).encode()])
    return {"rounds": rounds, "metrics": metrics, "metric": metrics.get(app.metric, float("nan")), "model": model}


def _hash(parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
