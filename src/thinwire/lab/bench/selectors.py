"""Every way to select, on every source, at every density: time, and how good the selection is. One JSON-able result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from thinwire.codecs.sparse.pairs import check_density
from thinwire.lab.bench.methods import methods
from thinwire.lab.bench.rows import COLD_STEPS, Row, run
from thinwire.lab.bench.sources import GROUPS, NAMES, Source, sources
from thinwire.lab.bench.steps import Sender
from thinwire.lab.environment import environment
from thinwire.lab.one_thread import threads
from thinwire.lab.tasks.base import unknown

SCHEMA = "thinwire.selectors/1"
OnRow = Callable[[Row], None]


@dataclass(frozen=True)
class Settings:
    """What is measured. Raises ValueError for unknown names and numbers out of range; empty names mean all."""

    sources: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    densities: tuple[float, ...] = (0.01,)
    elements: int = 25_600_000
    repeats: int = 3
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", chosen("source", self.sources, NAMES, GROUPS))
        object.__setattr__(self, "methods", chosen("method", self.methods, tuple(methods()), {}))
        if not self.densities:
            raise ValueError("no density was given, expected one or more, such as 0.01")
        for density in self.densities:
            check_density("the selectors' benchmark", density)
        for name in ("elements", "repeats", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.threads > (os.cpu_count() or 1):
            raise ValueError(f"threads is {self.threads}, expected at most the number of cores, {os.cpu_count() or 1}")
        if not 0 <= self.seed < 1 << 31:
            raise ValueError(f"seed is {self.seed}, expected 0 to 2**31 - 1")

    @property
    def rows(self) -> int:
        """How many rows the result will have."""
        return len(self.sources) * len(self.methods) * len(self.densities)


def chosen(
    what: str, names: Sequence[str], known: Sequence[str], groups: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return names in the order they are known in: those given, groups by their members, all where none is given.

    Raises ValueError for one that is not known.
    """
    wanted = {member for name in names for member in groups.get(name, (name,))}
    for name in sorted(wanted - set(known)):
        raise unknown(what, name, (*known, *groups))
    return tuple(name for name in known if name in wanted or not names)


def measure(settings: Settings, root: Path | None = None, on_row: OnRow | None = None) -> dict[str, Any]:
    """Return the result: settings, environment, facts of every source, and one row per source, density and method.

    `root` is a data folder for better recordings; see `lab.gradients`. `on_row` is called with every row.
    """
    rows, facts = [], []
    with threads(settings.threads):
        steps = COLD_STEPS + settings.repeats
        for source in sources(settings.sources, steps, settings.elements, root, settings.seed):
            facts.append({"name": source.name} | source.facts)
            for row in _rows(source, settings):
                rows.append(row)
                if on_row:
                    on_row(row)
    return {
        "schema": SCHEMA,
        "settings": asdict(settings),
        "environment": environment(),
        "sources": facts,
        "rows": rows,
    }


def _rows(source: Source, settings: Settings) -> Iterator[Row]:
    known, place = methods(), torch.zeros_like(source.at(0))
    for density in settings.densities:
        for name in settings.methods:
            sender = Sender(known[name].at(density), density, torch.zeros_like(place))
            yield run(source, sender, COLD_STEPS + settings.repeats, settings.seed, place)
