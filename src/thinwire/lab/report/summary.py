"""Runs in, a report out: group by configuration, pair with uncompressed by seed, average."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import fmean

from thinwire.lab.report.guards import gained, nothing_compressed
from thinwire.lab.report.kinds import by_ratio
from thinwire.lab.report.load import Round, Run
from thinwire.lab.report.model import (
    BASELINE,
    TOLERANCE,
    Configuration,
    Metric,
    Point,
    Report,
    Spread,
    TensorRow,
    mean,
    spread,
)
from thinwire.lab.report.pairs import Pairs, check_same, pair, remarks
from thinwire.lab.report.settings import settings_of
from thinwire.lab.report.verdict import verdict_of, verdict_of_pairings


def summarise(runs: Sequence[Run]) -> Report:
    """Turn runs into a report. Raises ValueError when they cannot stand in one table (two tasks, one seed twice)."""
    check_same(runs)
    metric = Metric(runs[0].metric_name, runs[0].higher_is_better)
    groups = list(dict.fromkeys(run.group for run in runs))
    rows = sorted((_configuration(pair(group, runs), metric) for group in groups), key=by_ratio)
    base = [run for run in runs if run.group == BASELINE and run.start is not None]
    untrained = gained(metric, [run.start or 0.0 for run in base], [run.final_metric for run in base])
    return Report(
        task=str(runs[0].config.get("task", "task")),
        metric=metric,
        tolerance=TOLERANCE,
        seeds=tuple(sorted({run.seed for run in runs})),
        rounds=max(run.last_round for run in runs),
        clients=_clients(runs),
        source=", ".join(dict.fromkeys(run.source for run in runs)),
        verdict=verdict_of(rows, metric, untrained),
        pairing_verdict=None if untrained else verdict_of_pairings(rows, metric),
        notes=tuple(f"{row.group}: {note}" for row in rows for note in row.notes) + remarks(runs),
        configurations=tuple(rows),
        settings=settings_of(runs, [row.group for row in rows]),
    )


def _clients(runs: Sequence[Run]) -> int | None:
    counts = {run.config.get("clients") for run in runs}
    only = counts.pop() if len(counts) == 1 else None
    return only if isinstance(only, int) and only > 0 else None


def _configuration(pairs: Pairs[Run], metric: Metric) -> Configuration:
    runs, base = pairs.runs, pairs.baseline
    gaps = [
        metric.difference(run.final_metric, other.final_metric) for run, other in zip(runs, base, strict=bool(base))
    ]
    rounds = [item for run in runs for item in run.rounds]
    trained = sum(run.last_round for run in runs) or 1
    return Configuration(
        group=runs[0].group,
        name=runs[0].name,
        seeds=tuple(run.seed for run in runs),
        notes=pairs.notes + _idle(runs),
        metric=spread([run.final_metric for run in runs]),
        difference=spread(gaps) if gaps else None,
        within=bool(gaps) and metric.gain(fmean(gaps)) >= -TOLERANCE - 1e-9,
        total_bytes=_average(runs, lambda run: run.total_bytes),
        up_bytes=_average(runs, lambda run: run.up_bytes),
        down_bytes=_average(runs, lambda run: run.down_bytes),
        baseline_bytes=_average(base, lambda run: run.total_bytes) if base else None,
        baseline_metric=_final(base),
        total_ratio=_ratio(pairs, lambda run: run.total_bytes),
        up_ratio=_ratio(pairs, lambda run: run.up_bytes),
        down_ratio=_ratio(pairs, lambda run: run.down_bytes),
        payload_ratio=_ratio(pairs, lambda run: run.payload_bytes),
        up_nmse=mean([item.up_nmse for item in rounds]),
        down_nmse=mean([item.down_nmse for item in rounds]),
        codec_s=sum(run.codec_s for run in runs) / trained,
        train_s=sum(item.train_s for item in rounds) / trained,
        failures=sum(item.failures for item in rounds),
        points=_points(runs),
        tensors=_tensors(pairs),
    )


def _idle(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return the warnings of a configuration that compressed nothing in a direction that it was to compress."""
    if runs[0].group == BASELINE:
        return ()
    rounds = [item for run in runs for item in run.rounds if item.number]
    up = nothing_compressed(runs[0].config.get("uplink"), [item.up_nmse for item in rounds], "on the way up")
    return up + nothing_compressed(
        runs[0].config.get("downlink"), [item.down_nmse for item in rounds], "on the way down"
    )


def _average(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return fmean(value(run) for run in runs)


def _final(runs: Sequence[Run]) -> Spread | None:
    return spread([run.final_metric for run in runs]) if runs else None


def _ratio(pairs: Pairs[Run], value: Callable[[Run], float]) -> float | None:
    own = sum(value(run) for run in pairs.runs)
    return sum(value(run) for run in pairs.baseline) / own if pairs.baseline and own else None


def _points(runs: Sequence[Run]) -> tuple[Point, ...]:
    sent = {run.seed: dict(zip((r.number for r in run.rounds), _cumulative(run), strict=True)) for run in runs}
    numbers = sorted({item.number for run in runs for item in run.rounds})
    return tuple(_point(number, runs, [sent[run.seed].get(number) for run in runs]) for number in numbers)


def _cumulative(run: Run) -> list[int]:
    return list(accumulate(item.up_bytes + item.down_bytes for item in run.rounds))


def _point(number: int, runs: Sequence[Run], sent: list[int | None]) -> Point:
    rounds: list[Round] = [item for run in runs for item in run.rounds if item.number == number]
    return Point(
        round=number,
        metric=spread([item.metric for item in rounds]),
        sent_bytes=mean(list(sent)) or 0.0,
        up_nmse=mean([item.up_nmse for item in rounds]),
        down_nmse=mean([item.down_nmse for item in rounds]),
    )


def _tensors(pairs: Pairs[Run]) -> tuple[TensorRow, ...]:
    rows = [_tensor(name, shape, pairs) for name, shape in {t.name: t.shape for t in pairs.runs[0].tensors}.items()]
    return tuple(sorted(rows, key=lambda row: (-row.total_bytes, row.name)))


def _tensor(name: str, shape: str, pairs: Pairs[Run]) -> TensorRow:
    own = [item for run in pairs.runs for item in run.tensors if item.name == name]
    base = [item for run in pairs.baseline for item in run.tensors if item.name == name]
    own_bytes, base_bytes = (sum(item.up_bytes + item.down_bytes for item in items) for items in (own, base))
    ratio = base_bytes / own_bytes if base_bytes and own_bytes else None
    return TensorRow(name, shape, fmean(t.up_bytes for t in own), fmean(t.down_bytes for t in own), ratio)
