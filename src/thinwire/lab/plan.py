"""What a comparison consists of: configurations times seeds, one file each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from thinwire.lab.config import RunConfig, slug
from thinwire.lab.pairings import Pairing


@dataclass(frozen=True)
class Plan:
    """One run to be made."""

    group: str
    name: str
    config: RunConfig

    @property
    def slug(self) -> str:
        """The name of its file, without the ending."""
        return slug(self.group, self.config.seed)

    def run(self, on_round: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Make it: see ``thinwire.lab.run.run``."""
        # Here and not above: a process that only plans needs no Flower.
        from thinwire.lab.run import run

        return run(self.config, on_round, self.group, self.name)


def plans(pairings: Sequence[Pairing], base: RunConfig, seeds: Iterable[int]) -> list[Plan]:
    """Return every configuration with every seed, a seed at a time. Raises ValueError as RunConfig does."""
    return [
        Plan(item.group, item.name, replace(base, uplink=item.uplink, downlink=item.downlink, seed=seed))
        for seed in seeds
        for item in pairings
    ]
