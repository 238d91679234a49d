"""Run files in, checked values out. A report reads nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thinwire.lab.report import units
from thinwire.lab.report.fields import SCHEMA, SCHEMAS, Fields
from thinwire.lab.report.model import BASELINE, Metric


@dataclass(frozen=True)
class Round:
    """One round of one run; round 0 is the initial model. NMSE is None where nothing was compressed."""

    number: int
    metric: float
    up_bytes: int
    down_bytes: int
    up_nmse: float | None
    down_nmse: float | None
    train_s: float
    failures: int


@dataclass(frozen=True)
class TensorBytes:
    """What one tensor cost over a whole run, all clients together."""

    name: str
    shape: str
    up_bytes: int
    down_bytes: int


@dataclass(frozen=True)
class Run:
    """One run file. `config` and `environment` stay as they were written."""

    baseline = BASELINE
    own = ("uplink", "downlink", "seed")
    shown = ("uplink", "downlink")

    file: str
    name: str
    group: str
    source: str
    seed: int
    config: Mapping[str, object]
    environment: Mapping[str, object]
    metric_name: str
    higher_is_better: bool
    parameters: int
    dense_bytes: int
    tensors: tuple[TensorBytes, ...]
    rounds: tuple[Round, ...]
    up_bytes: int
    down_bytes: int
    payload_bytes: int
    codec_s: float
    final_metric: float

    @property
    def total_bytes(self) -> int:
        """Bytes up and down."""
        return self.up_bytes + self.down_bytes

    @property
    def start(self) -> float | None:
        """The metric of the initial model, where it was measured."""
        return self.rounds[0].metric if self.rounds[0].number == 0 else None

    @property
    def started(self) -> tuple[str, str]:
        """What that is, and how much."""
        kind = Metric(self.metric_name, self.higher_is_better)
        return f"{kind.label} before training", units.metric(kind, self.start or 0.0)

    @property
    def identity(self) -> tuple[tuple[str, object], ...]:
        """What must be the same in all runs of a folder, with what it is called in the file."""
        return (
            ("config.task", self.config.get("task")),
            ("metric.name", self.metric_name),
            ("metric.higher_is_better", self.higher_is_better),
        )

    @property
    def unfinished(self) -> str:
        """Why it cannot be compared with a finished run, empty where it can."""
        wanted = self.config.get("rounds")
        return f"it stopped after round {self.last_round} of {wanted}" if wanted != self.last_round else ""

    @property
    def failed(self) -> int:
        """How many replies failed."""
        return sum(item.failures for item in self.rounds)

    @property
    def last_round(self) -> int:
        """The number of the last round that the file holds."""
        return self.rounds[-1].number


def load_runs(folder: Path) -> list[Run]:
    """Read `<folder>/runs/*.json`, sorted by file name. Raises ValueError when there is none or one is not valid."""
    return [load_run(top) for top in read_files(folder, SCHEMA)]


def read_files(folder: Path, schema: str = "") -> list[Fields]:
    """Read the JSON objects `<folder>/runs/*.json`, sorted by file name, all of one schema: `schema`, if given, or else
    that of the first. Raises ValueError that names the file when there is none or one is something else.
    """
    files = sorted((folder / "runs").glob("*.json"))
    if not files:
        raise ValueError(
            f"no run in {str(folder)!r}: expected at least one file {folder / 'runs'}/*.json; "
            f"`thinwire compare --out {folder}` makes them."
        )
    tops = [_top(file) for file in files]
    wanted = schema or tops[0].schema
    for top in tops:
        if top.schema != wanted:
            top.refuse("schema", f"{wanted!r}, one kind of runs in a folder")
    return tops


def _top(file: Path) -> Fields:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not valid JSON ({error}); delete the file and run it again.") from error
    values = data if isinstance(data, dict) else {}
    found = values.get("schema")
    if found not in SCHEMAS:
        Fields(str(file), "", values).refuse("schema", " or ".join(map(repr, SCHEMAS)))
    return Fields(str(file), "", values, str(found))


def load_run(top: Fields) -> Run:
    """Check one run file. Raises ValueError that names the file and the field."""
    config, metric, model, totals = (top.child(key) for key in ("config", "metric", "model", "totals"))
    return Run(
        file=top.file,
        name=top.text("name"),
        group=top.text("group"),
        source=top.text("source"),
        seed=config.count("seed"),
        config=config.values,
        environment=top.child("environment").values,
        metric_name=metric.text("name"),
        higher_is_better=metric.flag("higher_is_better"),
        parameters=model.count("parameters"),
        dense_bytes=model.count("dense_bytes"),
        tensors=_tensors(model.child("tensors")),
        rounds=_rounds(top),
        up_bytes=totals.count("up_bytes"),
        down_bytes=totals.count("down_bytes"),
        payload_bytes=totals.count("up_payload_bytes") + totals.count("down_payload_bytes"),
        codec_s=totals.seconds("encode_s") + totals.seconds("decode_s"),
        final_metric=top.child("final").number("metric"),
    )


def _rounds(top: Fields) -> tuple[Round, ...]:
    rounds = tuple(_round(item) for item in top.children("rounds"))
    numbers = [item.number for item in rounds]
    return rounds if numbers == sorted(set(numbers)) else top.refuse("rounds", "rounds in rising order, each once")


def _round(item: Fields) -> Round:
    return Round(
        number=item.count("round"),
        metric=item.number("metric"),
        up_bytes=item.count("up_bytes"),
        down_bytes=item.count("down_bytes"),
        up_nmse=item.optional("up_nmse"),
        down_nmse=item.optional("down_nmse"),
        train_s=item.seconds("train_s"),
        failures=item.count("failures"),
    )


def _tensors(parent: Fields) -> tuple[TensorBytes, ...]:
    return tuple(_tensor(name, parent.child(name)) for name in parent.values)


def _tensor(name: str, item: Fields) -> TensorBytes:
    shape = item.values.get("shape")
    sizes = shape if isinstance(shape, list) else item.refuse("shape", "a list of sizes")
    text = " × ".join(str(size) for size in sizes) or "scalar"
    return TensorBytes(name, text, item.count("up_bytes"), item.count("down_bytes"))
