"""Data-parallel runs in, a report out: group by method, pair with dense by seed, average."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import fmean, median

from thinwire.lab.report.distributed.load import BASELINE, PARTS, TIMES, TrainRun
from thinwire.lab.report.distributed.model import TOLERANCE, Along, EpochPoint, Method, TrainReport
from thinwire.lab.report.distributed.verdict import times_of, verdict_of
from thinwire.lab.report.guards import fell, nothing_saved
from thinwire.lab.report.kinds import by_ratio
from thinwire.lab.report.model import Metric, spread
from thinwire.lab.report.pairs import Pairs, check_same, pair, remarks
from thinwire.lab.report.settings import settings_of

_POINTS = 40
"""Losses are averaged over as many steps as leave about this many points of a line."""


def summarise(runs: Sequence[TrainRun]) -> TrainReport:
    """Turn runs into a report. Raises ValueError when they cannot stand in one table (two tasks, one seed twice)."""
    check_same(runs)
    first, steps = runs[0], max(len(run.losses) for run in runs)
    metric = Metric(first.metric_name, first.higher_is_better, relative=first.metric_name == "perplexity")
    window, groups = math.ceil(steps / _POINTS), dict.fromkeys(run.group for run in runs)
    rows = sorted((_method(pair(group, runs), metric, window) for group in groups), key=by_ratio)
    base = [run for run in runs if run.group == BASELINE]
    workers, simulated = first.config.get("workers"), first.config.get("simulate") is True
    return TrainReport(
        model=str(first.config.get("model")),
        dataset=str(first.config.get("dataset")),
        workers=workers if isinstance(workers, int) else 0,
        simulated=simulated,
        pipeline=first.config.get("use_pipeline") is True,
        metric=metric,
        tolerance=TOLERANCE,
        seeds=tuple(sorted({run.seed for run in runs})),
        steps=steps,
        window=window,
        link=_link(runs),
        source=", ".join(dict.fromkeys(run.source for run in runs)),
        verdict=verdict_of(rows, metric, fell([run.start for run in base], [_last_loss(run) for run in base])),
        time_verdict=times_of(rows, simulated),
        notes=tuple(f"{row.group}: {note}" for row in rows for note in row.notes) + remarks(runs),
        configurations=tuple(rows),
        settings=settings_of(runs, [row.group for row in rows]),
    )


def _last_loss(run: TrainRun) -> float:
    """Return the mean loss of the last tenth of the steps."""
    return fmean(run.losses[-max(1, len(run.losses) // 10) :])


def _link(runs: Sequence[TrainRun]) -> str:
    """Return what was measured of the link before training, the mean over the runs that measured it."""
    known = [run.link for run in runs if run.link]
    if not known:
        return ""
    latency_s, bps = (fmean(values) for values in zip(*known, strict=True))
    return f"{latency_s * 1e6:.3g} µs, {bps / 1e6:.4g} Mbit/s"


def _method(pairs: Pairs[TrainRun], metric: Metric, window: int) -> Method:
    runs, base = pairs.runs, pairs.baseline
    both = zip(runs, base, strict=bool(base))
    gaps = [metric.difference(run.final_metric, other.final_metric) for run, other in both]
    wanted = sum(run.wanted for run in runs)
    ratio = _ratio(pairs, lambda run: sum(run.sent_bytes))
    estimate = next((run.estimate for run in runs if run.estimate), None)
    return Method(
        group=runs[0].group,
        name=runs[0].name,
        seeds=tuple(run.seed for run in runs),
        notes=pairs.notes + nothing_saved(ratio, runs[0].config.get("compressor")),
        metric=spread([run.final_metric for run in runs]),
        loss=spread([run.final_loss for run in runs]),
        difference=spread(gaps) if gaps else None,
        within=bool(gaps) and metric.gain(fmean(gaps)) >= -TOLERANCE - 1e-9,
        total_bytes=fmean(sum(run.sent_bytes) for run in runs),
        step_bytes=fmean(fmean(run.sent_bytes) for run in runs),
        baseline_bytes=fmean(sum(run.sent_bytes) for run in base) if base else None,
        baseline_metric=spread([run.final_metric for run in base]) if base else None,
        total_ratio=ratio,
        times={key: _typical(runs, key) for key in TIMES},
        exposed_ratio=_ratio(pairs, lambda run: median(run.times["exposed_s"])),
        step_ratio=_ratio(pairs, lambda run: sum(median(run.times[key]) for key in PARTS)),
        k_accuracy=sum(run.kept for run in runs) / wanted if wanted else None,
        exchanges=", ".join(f"{name} {count}" for name, count in sorted(runs[0].exchanges.items())),
        pays=estimate.pays if estimate else None,
        estimate=estimate.text if estimate else "",
        points=_points(runs),
        along=_along(runs, window),
    )


def _typical(runs: Sequence[TrainRun], key: str) -> float:
    return fmean(median(run.times[key]) for run in runs)


def _ratio(pairs: Pairs[TrainRun], value: Callable[[TrainRun], float]) -> float | None:
    own = sum(map(value, pairs.runs))
    return sum(map(value, pairs.baseline)) / own if pairs.baseline and own else None


def _points(runs: Sequence[TrainRun]) -> tuple[EpochPoint, ...]:
    values: dict[int, list[float]] = {}
    for run in runs:
        for epoch in run.epochs:
            if epoch.metric is not None:
                values.setdefault(epoch.number, []).append(epoch.metric)
    return tuple(EpochPoint(number, spread(found)) for number, found in sorted(values.items()))


def _along(runs: Sequence[TrainRun], window: int) -> tuple[Along, ...]:
    steps = min(len(run.losses) for run in runs)
    sent = [list(accumulate(run.sent_bytes)) for run in runs]
    spent = [list(accumulate(map(sum, zip(*(run.times[key] for key in PARTS), strict=True)))) for run in runs]
    ends = [min(start + window, steps) for start in range(0, steps, window)]
    return tuple(
        Along(
            step=end,
            loss=spread([fmean(run.losses[max(0, end - window) : end]) for run in runs]),
            sent_bytes=fmean(column[end - 1] for column in sent),
            seconds=fmean(column[end - 1] for column in spent),
        )
        for end in ends
    )
