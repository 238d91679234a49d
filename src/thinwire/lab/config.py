"""What a run is, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from thinwire.lab.strategies import strategy
from thinwire.lab.tasks import Task, Training, find, partition
from thinwire.zoo import compressor

STOCK = "stock Flower"
"""What a run file says of both directions where thinwire had no part in a run."""


@dataclass(frozen=True)
class RunConfig:
    """One federated run. A setting that is None takes the task's own value.

    ``uplink`` and ``downlink`` are texts as ``CompressedGrid`` takes them; both None or empty is stock Flower without
    thinwire, and where only one is, that direction sends dense frames (``none``). ``rows`` are the first ones to train
    on, all if None. Raises ValueError, naming what was
    given and what is possible, on anything that cannot be read or is out of range.
    """

    task: str = "digits"
    uplink: str | None = None
    downlink: str | None = None
    strategy: str = "FedAvg"
    clients: int | None = None
    partition: str | None = None
    rounds: int | None = None
    local_epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    momentum: float | None = None
    optimizer: str | None = None
    fraction_train: float = 1.0
    rows: int | None = None
    seed: int = 0
    data: Path | None = None

    def __post_init__(self) -> None:
        partition(self.training.partition)
        strategy(self.strategy)
        compressor(self.uplink or "none", "up"), compressor(self.downlink or "none", "down")
        if not 0 < self.fraction_train <= 1:
            raise ValueError(f"fraction_train is {self.fraction_train!r}, expected more than 0 and at most 1")
        if self.rows is not None and self.rows < 1:
            raise ValueError(f"rows is {self.rows!r}, expected 1 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed!r}, expected 0 to 2**32 - 1")

    @property
    def found_task(self) -> Task:
        """The task."""
        return find(self.task)

    @property
    def training(self) -> Training:
        """The task's hyper-parameters with those that were given put in."""
        given = {f.name: value for f in fields(Training) if (value := getattr(self, f.name)) is not None}
        usual = self.found_task.training
        if given.get("optimizer", usual.optimizer) != usual.optimizer:
            # The task's momentum and no other was meant for its own optimizer.
            usual = replace(usual, momentum=0.0)
        return replace(usual, **given)

    @property
    def compressed(self) -> bool:
        """Whether thinwire has a part in this run."""
        return bool(self.uplink or self.downlink)

    def described(self) -> dict[str, object]:
        """Return the settings as a run file holds them: nothing of the machine, every default filled in."""
        training = self.training
        momentum = f", momentum={training.momentum:g}" if training.optimizer == "SGD" else ""
        return {
            "task": self.task,
            **({} if self.rows is None else {"rows": self.rows}),
            "clients": training.clients,
            "partition": str(partition(training.partition)),
            "strategy": self.strategy,
            "rounds": training.rounds,
            "local_epochs": training.local_epochs,
            "batch_size": training.batch_size,
            "optimizer": f"{training.optimizer}(lr={training.lr:g}{momentum})",
            "fraction_train": self.fraction_train,
            "seed": self.seed,
            "uplink": self.uplink or ("none" if self.compressed else STOCK),
            "downlink": self.downlink or ("none" if self.compressed else STOCK),
        }
