"""Run files in, checked values out. A report reads nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thinwire.lab.report.fields import SCHEMA, Fields


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
    def last_round(self) -> int:
        """The number of the last round that the file holds."""
        return self.rounds[-1].number


def load_runs(folder: Path) -> list[Run]:
    """Read `<folder>/runs/*.json`, sorted by file name. Raises ValueError when there is none or one is not valid."""
    files = sorted((folder / "runs").glob("*.json"))
    if not files:
        raise ValueError(
            f"no run in {str(folder)!r}: expected at least one file {folder / 'runs'}/*.json; "
            f"`thinwire compare --out {folder}` makes them."
        )
    return [load_run(file) for file in files]


def load_run(file: Path) -> Run:
    """Read one run file. Raises ValueError that names the file and the field."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not valid JSON ({error}); delete the file and run it again.") from error
    top = Fields(str(file), "", data if isinstance(data, dict) else {})
    return _run(top) if top.values.get("schema") == SCHEMA else top.refuse("schema", f"{SCHEMA!r}")


def _run(top: Fields) -> Run:
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
