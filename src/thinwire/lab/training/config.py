"""What a distributed training run is, as one frozen value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinwire.errors import unknown
from thinwire.lab.models.catalogue import find
from thinwire.lab.training.method import STOCK, Method, method
from thinwire.lab.training.schedule import SCHEDULES
from thinwire.lab.training.usual import OPTIMIZERS, USUAL, Usual

_FREE = ("workers", "simulate")
"""What may be something else when a run goes on: none of it changes what a step does."""
_LENGTH = ("epochs", "steps")
"""So may these where the learning rate is constant; any other schedule is laid out over the whole run."""
_POSITIVE = ("epochs", "steps", "batch_size", "workers", "limit_rows", "checkpoint_steps", "context", "lr", "clip_norm")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. A setting that is None takes the usual value of its kind of model.

    ``compressor`` is ``none`` (dense all-reduce), a stock hook of torch (``torch-fp16``, ``torch-powersgd``), or what
    ``thinwire.ddp.compress_gradients`` takes. ``batch_size`` is that of one worker. ``steps`` ends the run early;
    ``warmup`` is in epochs. Raises ValueError, naming what was given and what is possible, on anything that cannot be
    read or is out of range. ``simulate``: all workers are in one process.
    """

    model: str = "small-cnn"
    dataset: str = "digits"
    compressor: str = "none"
    density: float | None = None
    use_pipeline: bool = False
    epochs: int = 5
    steps: int | None = None
    batch_size: int = 32
    workers: int = 2
    simulate: bool = False
    cuda: bool = False
    optimizer: str | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.0
    amp: bool = False
    augment: bool = False
    context: int | None = None
    limit_rows: int | None = None
    seed: int = 0
    data: Path | None = None
    checkpoint_steps: int | None = None
    tensorboard: bool = False
    usual: Usual = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}, expected more than 0")
        object.__setattr__(self, "usual", USUAL[find(self.model).kind])
        _among("optimizer", self.chosen("optimizer"), OPTIMIZERS)
        _among("schedule", self.schedule, SCHEDULES)
        self._check_ranges()
        if self.method.corrects_momentum and self.chosen("optimizer") != "sgd":
            raise ValueError(f"{self.compressor!r} carries SGD's momentum itself; it goes with --optimizer sgd only")
        if self.simulate and self.compressor in STOCK:
            raise ValueError(f"{self.compressor!r} is torch's own and needs processes: it cannot be simulated")

    def _check_ranges(self) -> None:
        if not 0 <= self.chosen("momentum") < 1:
            raise ValueError(f"momentum is {self.momentum!r}, expected 0 to below 1")
        for name in ("weight_decay", "warmup"):
            if not 0 <= self.chosen(name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed!r}, expected 0 to 2**32 - 1")

    def chosen(self, name: str) -> Any:
        """Return a setting: as given, else the usual one of the model's kind."""
        value = getattr(self, name)
        return getattr(self.usual, name, None) if value is None else value

    @property
    def method(self) -> Method:
        """How gradients are averaged. Raises ValueError."""
        return method(self.compressor, self.density, self.momentum)

    def described(self) -> dict[str, Any]:
        """Return the settings as a result holds them: nothing of the machine, every default filled in."""
        names = (
            *("model", "dataset", "compressor", "density", "use_pipeline", "epochs", "steps", "batch_size", "workers"),
            *("simulate", "optimizer", "lr", "momentum", "weight_decay", "clip_norm", "schedule", "warmup", "amp"),
            *("augment", "context", "limit_rows"),
        )
        rest = {"method": self.method.text, "device": "cuda" if self.cuda else "cpu", "seed": self.seed}
        return {name: self.chosen(name) for name in names} | rest


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return in words which settings of a run that goes on are not what they were and had to be."""
    schedule = before.get("schedule")
    free = (*_FREE, *_LENGTH) if schedule == "constant" else _FREE
    names = [name for name in {**before, **now} if name not in free and before.get(name) != now.get(name)]
    said = [f"{name} {before.get(name)!r} then, {now.get(name)!r} now" for name in names]
    laid_out = [f"its {schedule} learning rate is that of the length then: a longer run takes --schedule constant"]
    return said + (laid_out if {*names} & {*_LENGTH} else [])


def _among(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(unknown(what, given, known))
