"""Data-parallel run files in, checked values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from thinwire.lab.report.fields import Fields
from thinwire.lab.training.compared import DENSE, label

BASELINE = label(DENSE, None)
PARTS = ("forward_s", "backward_s", "exposed_s", "update_s")
"""What a step takes, one after the other; encoding is in ``exposed_s``, or beside backward."""
TIMES = (*PARTS, "encode_s")


@dataclass(frozen=True)
class Epoch:
    """One epoch of one run; the metric is None where it was no finite number."""

    number: int
    step: int
    metric: float | None


@dataclass(frozen=True)
class Estimate:
    """What a run estimated: whether compression pays on the link, and why."""

    pays: bool
    text: str


@dataclass(frozen=True)
class TrainRun:
    """One run file. Columns hold a number a step: bytes are sums over the workers, times and losses means."""

    baseline = BASELINE
    own = ("compressor", "density", "method", "seed")
    shown = ("compressor", "density")
    failed = 0

    file: str
    group: str
    name: str
    source: str
    seed: int
    config: Mapping[str, object]
    environment: Mapping[str, object]
    metric_name: str
    higher_is_better: bool
    parameters: int
    dense_bytes: int
    losses: tuple[float, ...]
    sent_bytes: tuple[float, ...]
    times: Mapping[str, tuple[float, ...]]
    kept: float
    wanted: float
    epochs: tuple[Epoch, ...]
    exchanges: Mapping[str, int]
    final_metric: float
    final_loss: float
    link: tuple[float, float] | None
    estimate: Estimate | None

    @property
    def start(self) -> float:
        """The loss of the first step: before it, nothing was averaged yet."""
        return self.losses[0]

    @property
    def started(self) -> tuple[str, str]:
        """What that is, and how much."""
        return "loss of the first step", f"{self.losses[0]:.4f}"

    @property
    def identity(self) -> tuple[tuple[str, object], ...]:
        """What must be the same in all runs of a folder, with what it is called in the file."""
        config = (("config.model", self.config.get("model")), ("config.dataset", self.config.get("dataset")))
        return (*config, ("metric.name", self.metric_name), ("metric.higher_is_better", self.higher_is_better))

    @property
    def unfinished(self) -> str:
        """Why it cannot be compared with a finished run, empty where it can."""
        steps = len(self.losses)
        done = self.epochs[-1].number == self.config.get("epochs") or steps == self.config.get("steps")
        return "" if done else f"it stopped after step {steps}"


def load_run(top: Fields) -> TrainRun:
    """Check one run file. Raises ValueError that names the file and the field."""
    config, metric, model, final = (top.child(key) for key in ("config", "metric", "model", "final"))
    steps, name = top.child("steps"), metric.text("name")
    losses, density = steps.numbers("loss"), config.optional("density")
    if not losses:
        steps.refuse("loss", "the loss of at least one step")
    return TrainRun(
        file=top.file,
        group=label(config.text("compressor"), density),
        name=config.text("method"),
        source=top.text("source"),
        seed=config.count("seed"),
        config=config.values,
        environment=top.child("environment").values,
        metric_name=name,
        higher_is_better=metric.flag("higher_is_better"),
        parameters=model.count("parameters"),
        dense_bytes=model.count("dense_bytes"),
        losses=tuple(losses),
        sent_bytes=_column(steps, "sent_bytes", len(losses)),
        times={key: _column(steps, key, len(losses)) for key in TIMES},
        kept=sum(_optional_column(steps, "kept", len(losses))),
        wanted=sum(_optional_column(steps, "wanted", len(losses))),
        epochs=_epochs(top, name),
        exchanges=Counter(str(value) for value in top.child("exchanges").values.values()),
        final_metric=final.number(name),
        final_loss=final.number("loss"),
        link=_link(top),
        estimate=_estimate(top),
    )


def _column(steps: Fields, key: str, length: int) -> tuple[float, ...]:
    found = steps.numbers(key)
    if len(found) != length or min(found) < 0:
        steps.refuse(key, f"{length} numbers of at least 0, as many as losses")
    return tuple(found)


def _optional_column(steps: Fields, key: str, length: int) -> tuple[float, ...]:
    return _column(steps, key, length) if steps.values.get(key) else ()


def _epochs(top: Fields, metric: str) -> tuple[Epoch, ...]:
    rows = top.children("epochs")
    epochs = tuple(Epoch(row.count("epoch"), row.count("step"), row.optional(metric)) for row in rows)
    numbers = [row.number for row in epochs]
    return epochs if numbers == sorted(set(numbers)) else top.refuse("epochs", "epochs in rising order, each once")


def _link(top: Fields) -> tuple[float, float] | None:
    if top.values.get("link") is None:
        return None
    link = top.child("link")
    return link.seconds("latency_s"), link.number("bandwidth_bps")


def _estimate(top: Fields) -> Estimate | None:
    if top.values.get("worth") is None:
        return None
    worth = top.child("worth")
    return Estimate(worth.flag("pays"), worth.text("text"))
