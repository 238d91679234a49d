"""What the report asks of runs, and of what is drawn, whatever kind they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from thinwire.lab.report.model import Metric, Settings, Spread, Verdict


class Run(Protocol):
    """One run. All its settings but ``own`` must equal those of the run of the group ``baseline`` and of its seed."""

    @property
    def file(self) -> str:
        """Where it was read."""
        ...

    @property
    def group(self) -> str:
        """Its configuration."""
        ...

    @property
    def name(self) -> str:
        """Its configuration in words."""
        ...

    @property
    def source(self) -> str:
        """What made it."""
        ...

    @property
    def seed(self) -> int:
        """Its seed."""
        ...

    @property
    def config(self) -> Mapping[str, object]:
        """Its settings, as they were written."""
        ...

    @property
    def environment(self) -> Mapping[str, object]:
        """Where it ran, as it was written."""
        ...

    @property
    def parameters(self) -> int:
        """How many parameters its model has."""
        ...

    @property
    def dense_bytes(self) -> int:
        """The bytes of its model."""
        ...

    @property
    def own(self) -> tuple[str, ...]:
        """The settings that make its configuration what it is."""
        ...

    @property
    def shown(self) -> tuple[str, ...]:
        """Those of them that a report shows."""
        ...

    @property
    def baseline(self) -> str:
        """The group that it is compared with."""
        ...

    @property
    def identity(self) -> tuple[tuple[str, object], ...]:
        """What must be the same in all runs of a folder, with what it is called in the file."""
        ...

    @property
    def start(self) -> float | None:
        """A number that runs of one seed share if they started from the same weights, where it is known."""
        ...

    @property
    def started(self) -> tuple[str, str]:
        """What that is, and how much."""
        ...

    @property
    def unfinished(self) -> str:
        """Why it cannot be compared, empty where it can."""
        ...

    @property
    def failed(self) -> int:
        """How many replies failed."""
        ...


class At(Protocol):
    """One evaluation of one configuration, averaged over its seeds."""

    @property
    def round(self) -> int:
        """After which round or epoch."""
        ...

    @property
    def metric(self) -> Spread:
        """What was measured."""
        ...


class Row(Protocol):
    """All seeds of one configuration."""

    @property
    def group(self) -> str:
        """Its name."""
        ...

    @property
    def name(self) -> str:
        """What it is, in words."""
        ...

    @property
    def metric(self) -> Spread:
        """The final metric."""
        ...

    @property
    def total_bytes(self) -> float:
        """Bytes of a run."""
        ...

    @property
    def total_ratio(self) -> float | None:
        """How many times fewer than the baseline's."""
        ...

    @property
    def baseline_bytes(self) -> float | None:
        """The baseline's."""
        ...

    @property
    def difference(self) -> Spread | None:
        """How far the metric is from the baseline's."""
        ...

    @property
    def points(self) -> Sequence[At]:
        """The metric as it went."""
        ...


class Compared(Protocol):
    """What all charts and tables may look at."""

    @property
    def subtitle(self) -> str:
        """What was run, in one line."""
        ...

    @property
    def metric(self) -> Metric:
        """What was measured."""
        ...

    @property
    def tolerance(self) -> float:
        """How far the metric may be from the baseline's."""
        ...

    @property
    def baseline(self) -> str:
        """The group that all are compared with."""
        ...

    @property
    def turn(self) -> str:
        """What is counted: rounds or epochs."""
        ...

    @property
    def all_bytes(self) -> str:
        """Which bytes are meant."""
        ...

    @property
    def verdict(self) -> Verdict:
        """The sentence."""
        ...

    @property
    def configurations(self) -> Sequence[Row]:
        """From the highest ratio to the lowest."""
        ...

    @property
    def hue_order(self) -> Sequence[str]:
        """The groups in the order of their colours, without the baseline."""
        ...

    @property
    def settings(self) -> Settings:
        """The settings."""
        ...

    @property
    def best(self) -> Row | None:
        """What the verdict names."""
        ...

    def find(self, group: str) -> Row | None:
        """Return the configuration of a group, or None."""
        ...


def by_ratio(row: Row) -> tuple[bool, float, str]:
    """Return where a row stands: from the highest ratio to the lowest, those without one last."""
    return row.total_ratio is None, -(row.total_ratio or 0), row.group
