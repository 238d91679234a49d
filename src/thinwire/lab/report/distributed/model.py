"""What the report of data-parallel runs knows, before it is drawn: plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thinwire.lab.report.distributed.load import BASELINE, PARTS
from thinwire.lab.report.model import Metric, Settings, Spread, Verdict
from thinwire.lab.training.compared import DENSE, METHODS, STOCK

TOLERANCE = 0.01
"""How far the metric may be from dense: 1 percentage point of accuracy, 1 % of the perplexity."""
_USUAL = (*(name for name in METHODS if name not in (*STOCK, DENSE)), *STOCK)


@dataclass(frozen=True)
class EpochPoint:
    """The metric after one epoch, over the seeds."""

    round: int
    metric: Spread


@dataclass(frozen=True)
class Along:
    """Some steps of a method, over its seeds: their mean loss; bytes and seconds from the start to their end."""

    step: int
    loss: Spread
    sent_bytes: float
    seconds: float


@dataclass(frozen=True)
class Method:
    """All seeds of one method. What compares it with dense is None when there is no such run.

    ``times`` are seconds of a step: medians over the steps, means over the seeds. Ratios are dense's over its own.
    ``k_accuracy``: elements that a sparsifier selected over those that its density asks for.
    """

    group: str
    name: str
    seeds: tuple[int, ...]
    notes: tuple[str, ...]
    metric: Spread
    loss: Spread
    difference: Spread | None
    within: bool
    total_bytes: float
    step_bytes: float
    baseline_bytes: float | None
    baseline_metric: Spread | None
    total_ratio: float | None
    times: Mapping[str, float]
    exposed_ratio: float | None
    step_ratio: float | None
    k_accuracy: float | None
    exchanges: str
    pays: bool | None
    estimate: str
    points: tuple[EpochPoint, ...]
    along: tuple[Along, ...]

    @property
    def step_s(self) -> float:
        """Seconds of a step: its parts, one after the other."""
        return sum(self.times[key] for key in PARTS)

    @property
    def exposed_s(self) -> float:
        """Seconds of a step that training waited for averaging."""
        return self.times["exposed_s"]


@dataclass(frozen=True)
class TrainReport:
    """Everything that the three files say. Methods go from the highest ratio to the lowest."""

    model: str
    dataset: str
    workers: int
    simulated: bool
    pipeline: bool
    metric: Metric
    tolerance: float
    seeds: tuple[int, ...]
    steps: int
    window: int
    link: str
    source: str
    verdict: Verdict
    time_verdict: Verdict | None
    notes: tuple[str, ...]
    configurations: tuple[Method, ...]
    settings: Settings

    baseline = BASELINE
    turn = "epoch"
    all_bytes = "all workers"

    @property
    def subtitle(self) -> str:
        """What was run, in one line."""
        ranks = f"{self.workers} {'simulated rank' if self.simulated else 'worker'}{'' if self.workers == 1 else 's'}"
        seeds = f"{len(self.seeds)} seed{'' if len(self.seeds) == 1 else 's'}"
        return f"{self.model} on {self.dataset}, {ranks}, {self.steps} steps, {seeds}"

    @property
    def hue_order(self) -> tuple[str, ...]:
        """The groups in the order of their colours: a usual method has its own in every report, others what is free."""
        left = sorted(row.group for row in self.configurations if row.group != BASELINE)
        own = [next((group for group in left if group.split(" ")[0] == name), "") for name in _USUAL]
        rest = iter([group for group in left if group not in own])
        return (*(group or next(rest, name) for group, name in zip(own, _USUAL, strict=True)), *rest)

    def find(self, group: str) -> Method | None:
        """Return the method of a group, or None."""
        return next((item for item in self.configurations if item.group == group), None)

    @property
    def best(self) -> Method | None:
        """The method that the verdict names, or None."""
        return self.find(self.verdict.winner)
