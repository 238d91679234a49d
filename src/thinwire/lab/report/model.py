"""What a report knows, before it is drawn: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev

BASELINE = "uncompressed"
AUTO = "auto"
TOLERANCE = 0.005
"""How far below uncompressed a metric may end: 0.5 percentage points of accuracy, 0.005 of AUC."""


@dataclass(frozen=True)
class Metric:
    """What the runs measured. Accuracies are shown as percent and percentage points, all else as it is; where it is
    ``relative``, differences are shares of the baseline's.
    """

    name: str
    higher_is_better: bool
    relative: bool = False

    @property
    def percent(self) -> bool:
        """Whether it is shown as percent."""
        return "accuracy" in self.name.lower()

    @property
    def label(self) -> str:
        """Its name inside a sentence."""
        return "AUC" if self.name.lower() in ("auc", "roc_auc") else self.name.replace("_", " ")

    @property
    def title(self) -> str:
        """Its name at the start of a heading."""
        return self.label[0].upper() + self.label[1:]

    def difference(self, own: float, base: float) -> float:
        """Return how far a value is above the baseline's, or by which share of it."""
        return own / base - 1 if self.relative else own - base

    def edge(self, base: float, tolerance: float) -> float:
        """Return the worst value that is within a tolerance of the baseline's."""
        return base - self.gain(tolerance * base if self.relative else tolerance)

    def gain(self, difference: float) -> float:
        """Return a difference such that more is better."""
        return difference if self.higher_is_better else -difference


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (None for one value), lowest and highest over seeds."""

    mean: float
    sd: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """One round of one configuration, averaged over its seeds; bytes are cumulative."""

    round: int
    metric: Spread
    sent_bytes: float
    up_nmse: float | None
    down_nmse: float | None


@dataclass(frozen=True)
class TensorRow:
    """Mean bytes of one tensor over a run. The ratio is to uncompressed, None without it."""

    name: str
    shape: str
    up_bytes: float
    down_bytes: float
    ratio: float | None

    @property
    def total_bytes(self) -> float:
        """Bytes up and down."""
        return self.up_bytes + self.down_bytes


@dataclass(frozen=True)
class Configuration:
    """All seeds of one configuration. What compares it with uncompressed is None when there is no such run."""

    group: str
    name: str
    seeds: tuple[int, ...]
    notes: tuple[str, ...]
    metric: Spread
    difference: Spread | None
    within: bool
    total_bytes: float
    up_bytes: float
    down_bytes: float
    baseline_bytes: float | None
    baseline_metric: Spread | None
    total_ratio: float | None
    up_ratio: float | None
    down_ratio: float | None
    payload_ratio: float | None
    up_nmse: float | None
    down_nmse: float | None
    codec_s: float
    train_s: float
    failures: int
    points: tuple[Point, ...]
    tensors: tuple[TensorRow, ...]

    @property
    def codec_share(self) -> float | None:
        """Encode and decode time over training time, None where no training time was measured."""
        return self.codec_s / self.train_s if self.train_s else None


@dataclass(frozen=True)
class Verdict:
    """One sentence, in three parts so that the name of the winner can be set in bold, and what backs it."""

    lead: str
    winner: str
    rest: str
    detail: str

    @property
    def sentence(self) -> str:
        """The sentence as plain text."""
        return f"{self.lead}{self.winner}{self.rest}"


@dataclass(frozen=True)
class Settings:
    """What is equal for all runs, what differs between configurations, and where they ran."""

    shared: tuple[tuple[str, str], ...]
    differing_names: tuple[str, ...]
    differing: tuple[tuple[str, ...], ...]
    environment: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """Everything that the three files say. Configurations go from the highest ratio to the lowest."""

    task: str
    metric: Metric
    tolerance: float
    seeds: tuple[int, ...]
    rounds: int
    clients: int | None
    source: str
    verdict: Verdict
    pairing_verdict: Verdict | None
    notes: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    settings: Settings

    baseline = BASELINE
    turn = "round"
    all_bytes = "all clients, both directions"

    @property
    def subtitle(self) -> str:
        """What was run, in one line."""
        counts = ((self.clients or 0, "client"), (self.rounds, "round"), (len(self.seeds), "seed"))
        words = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count or noun != "client"]
        return ", ".join((self.task, *words))

    @property
    def hue_order(self) -> tuple[str, ...]:
        """The groups in the order of their colours: auto first."""
        names = (row.group for row in self.configurations if row.group != BASELINE)
        return tuple(sorted(names, key=lambda name: (name != AUTO, name)))

    def find(self, group: str) -> Configuration | None:
        """Return the configuration of a group, or None."""
        return next((item for item in self.configurations if item.group == group), None)

    @property
    def best(self) -> Configuration | None:
        """The configuration that the verdict names, or None."""
        return self.find(self.verdict.winner)


def spread(values: list[float]) -> Spread:
    """Summarise one value per seed."""
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, min(values), max(values))


def mean(values: list[float | None]) -> float | None:
    """Average what is there, None when nothing is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
