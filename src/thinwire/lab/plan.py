"""What a federated comparison consists of: configurations times seeds, one file each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from thinwire.lab.config import RunConfig
from thinwire.lab.pairings import BASELINE, Pairing
from thinwire.lab.planned import Reached, slug


@dataclass(frozen=True)
class Plan:
    """One run to be made."""

    group: str
    name: str
    config: RunConfig
    schema = "thinwire.run/1"
    baseline = BASELINE
    alone = False

    @property
    def slug(self) -> str:
        """The name of its file, without the ending."""
        return slug(self.group, self.config.seed)

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.config.seed

    @property
    def metric(self) -> str:
        """The name of what is measured."""
        return self.config.found_task.metric

    def described(self) -> dict[str, Any]:
        """Return its settings, as its result holds them."""
        return dict(self.config.described())

    def task(self) -> dict[str, Any]:
        """Return the name of its task."""
        return {"task": self.config.task}

    def run(self, on_round: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Make it: see ``thinwire.lab.run.run``."""
        # Here and not above: a process that only plans needs no Flower.
        from thinwire.lab.run import run

        return run(self.config, on_round, self.group, self.name)

    def reached(self, row: dict[str, Any], before: int) -> Reached:
        """Return how far a round's row says it is."""
        sent = before + row["up_bytes"] + row["down_bytes"]
        words = f"{self.metric} {row['metric']:.4f}"
        return Reached(row["round"], self.config.training.rounds, sent, words)

    def outcome(self, result: dict[str, Any]) -> tuple[float, int]:
        """Return the final metric, and the bytes of both directions."""
        return result["final"]["metric"], result["totals"]["total_bytes"]


def plans(pairings: Sequence[Pairing], base: RunConfig, seeds: Iterable[int]) -> list[Plan]:
    """Return every configuration with every seed, a seed at a time. Raises ValueError as RunConfig does."""
    return [
        Plan(item.group, item.name, replace(base, uplink=item.uplink, downlink=item.downlink, seed=seed))
        for seed in seeds
        for item in pairings
    ]
