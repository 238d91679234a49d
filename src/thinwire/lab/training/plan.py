"""One training run of a comparison: as many processes as it has workers, or all its ranks in one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinwire.errors import unknown
from thinwire.lab.models.catalogue import find
from thinwire.lab.one_thread import one_thread
from thinwire.lab.planned import Reached, plain, slug
from thinwire.lab.training.checkpoint import newest
from thinwire.lab.training.compared import DENSE, GROUPS, STOCK, label
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.data import Dataset
from thinwire.lab.training.evaluate import METRICS
from thinwire.lab.training.prepared import check
from thinwire.lab.training.result import SCHEMA
from thinwire.lab.training.watched import Direct, listening
from thinwire.lab.training.worker import RESULT, Work
from thinwire.zoo import METHODS, zoo

UNFINISHED = "unfinished"
"""Where a run keeps its checkpoints until it is done: the same command goes on from there."""


@dataclass(frozen=True)
class TrainPlan:
    """One run to be made, with what it has not finished below ``out``."""

    config: TrainConfig
    out: Path
    schema = SCHEMA
    baseline = label(DENSE, None)

    @property
    def group(self) -> str:
        """The method, and its density if chosen."""
        return label(self.config.compressor, self.config.density)

    @property
    def slug(self) -> str:
        """The name of its file, without the ending."""
        return slug(plain(self.group), self.config.seed)

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.config.seed

    @property
    def metric(self) -> str:
        """The name of what is measured."""
        return METRICS[find(self.config.model).kind][0]

    @property
    def alone(self) -> bool:
        """Whether it has workers of its own, which take all cores."""
        return not self.config.simulate

    def described(self) -> dict[str, Any]:
        """Return its settings, as its result holds them."""
        return self.config.described()

    def task(self) -> dict[str, Any]:
        """Return its model and its data."""
        return {"model": self.config.model, "dataset": self.config.dataset}

    def run(self, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Make it, from its newest checkpoint where it was stopped, and return its result.

        Raises WorkersFailed, KeyboardInterrupt, and where it is simulated what training raises.
        """
        folder = self.out / UNFINISHED / self.slug
        resume = self._goes_on(folder)
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._train(folder, resume, on_row)
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        shutil.rmtree(folder)
        with suppress(OSError):
            folder.parent.rmdir()
        return dict(result)

    def reached(self, row: dict[str, Any], before: int) -> Reached:
        """Return how far a step of the first worker is."""
        words = f"epoch {row['epoch'] + 1}, loss {row['loss']:.3f}"
        return Reached(row["step"], row["steps"], row["sent_bytes"], words)

    def outcome(self, result: dict[str, Any]) -> tuple[float, int]:
        """Return the final metric, and what all workers sent."""
        return result["final"][self.metric], result["totals"]["sent_bytes"]

    def _goes_on(self, folder: Path) -> bool:
        """Say whether a checkpoint of this very run is there, and whole. torch's PowerSGD cannot go on from one."""
        try:
            saved = newest(folder)
            if saved is None or self.config.compressor in STOCK or saved.config != self.described():
                return False
            saved.check()
        except (ValueError, OSError):
            return False
        return True

    def _train(self, folder: Path, resume: bool, on_row: Callable[[dict[str, Any]], None]) -> None:
        if self.config.simulate:
            from thinwire.lab.training.simulated import simulate

            with one_thread():
                simulate(Work(self.config, folder, resume, Direct(on_row)))
            return
        # Here and not above: torch's launcher is slow to load, and a process that only plans needs none.
        from thinwire.lab.training.launch import launch

        with listening(on_row) as watch:
            launch(Work(self.config, folder, resume, watch))


def known(name: str) -> str:
    """Return the name of a method of the zoo, of torch's hooks, or ``none``. Raises ValueError on any other."""
    names = (DENSE, *STOCK, *METHODS)
    if name not in names:
        raise ValueError(unknown("method", name, (*names, *GROUPS)))
    return name


def with_method(base: TrainConfig, text: str, density: float | None, dataset: Dataset) -> TrainConfig:
    """Return a config with another method, at a density where its name has one. Raises ValueError, also where the
    method cannot average the gradients of the model.
    """
    config = replace(base, compressor=text, density=density if has_density(text) else None)
    check(config, dataset)
    return config


def has_density(text: str) -> bool:
    """Say whether a method has a density that its name can be given with."""
    if text not in METHODS:
        return False
    try:
        zoo.method(text, 0.01)
    except ValueError:
        return False
    return True


def plans(configs: Sequence[TrainConfig], seeds: Iterable[int], out: Path) -> list[TrainPlan]:
    """Return every config with every seed, a seed at a time."""
    return [TrainPlan(replace(config, seed=seed), out) for seed in seeds for config in configs]
