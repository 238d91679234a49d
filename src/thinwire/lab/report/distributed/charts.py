"""Loss against step, bytes and time, and what a step takes."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from thinwire.lab.report import theme, units
from thinwire.lab.report.chart_bars import Bar, Key, bars_of
from thinwire.lab.report.curves import Track, beside, flagged
from thinwire.lab.report.distributed.load import BASELINE, PARTS
from thinwire.lab.report.distributed.model import Along, Method, TrainReport
from thinwire.lab.report.distributed.verdict import is_faster
from thinwire.lab.report.frame import Domain, log_padded
from thinwire.lab.report.svg import canvas

_LEAST = 1e-9
"""A loss, a size or a time that a logarithmic axis can still show."""
_LEFT = 56
_FLAG = 10
"""Pixels that a chart grows by with every name above it."""
_KEY: Key = (("down", "forward"), ("up", "backward"), ("c1", "exposed communication"), ("base", "update"))


def loss_by_step(report: TrainReport, size: Domain) -> Markup:
    """Return the training loss against the step, all methods, their names at the right."""
    tracks = [_track(report, row, lambda point: float(point.step)) for row in report.configurations]
    across = (0.0, float(report.steps))
    plot, body = beside(tracks, size, across, _losses(report), log="y", left=_LEFT)
    axes = (
        plot.rows(units.plain_tick),
        plot.columns(lambda value: f"{value:g}"),
        plot.titles("step", "loss (log scale)"),
    )
    return canvas(size, "Training loss against the step", *axes, body)


def loss_by_bytes(report: TrainReport, size: Domain) -> Markup:
    """Return the training loss against what all workers have sent."""
    words = ("Training loss against bytes sent", f"bytes sent so far, {report.all_bytes} (log scale)")
    return _loss_by(report, size, lambda point: point.sent_bytes, units.size_tick, words)


def loss_by_time(report: TrainReport, size: Domain) -> Markup:
    """Return the training loss against the time that the steps took."""
    words = ("Training loss against time", "time of the steps so far (log scale)")
    return _loss_by(report, size, lambda point: point.seconds, units.seconds_tick, words)


def _loss_by(
    report: TrainReport,
    size: Domain,
    value: Callable[[Along], float],
    tick: Callable[[float], str],
    words: tuple[str, str],
) -> Markup:
    tracks = [_track(report, row, value) for row in report.configurations]
    across = log_padded([x for track in tracks for x, _ in track.points])
    size = (size[0], size[1] + _FLAG * len(tracks))
    plot, body = flagged(tracks, size, across, _losses(report), log="xy", left=_LEFT)
    axes = (plot.rows(units.plain_tick), plot.columns(tick, plot.x.room), plot.titles(words[1], "loss (log scale)"))
    return canvas(size, words[0], *axes, body)


def _track(report: TrainReport, row: Method, value: Callable[[Along], float]) -> Track:
    end = row.along[-1]
    return Track(
        name=row.group,
        points=[(max(value(point), _LEAST), max(point.loss.mean, _LEAST)) for point in row.along],
        title=f"{row.group}: {_words(end)}",
        hue=theme.series(report)[row.group],
        dash=theme.dashes(report)[row.group],
        marker=theme.markers(report)[row.group],
        place=theme.place(report, row.group),
        strong=row.group == report.verdict.winner,
        hollow=row.group == BASELINE,
        spots=[_words(point) for point in row.along],
    )


def _words(point: Along) -> str:
    loss, sent, spent = _loss(point.loss.mean), units.size(point.sent_bytes), units.seconds(point.seconds)
    return f"step {point.step}: loss {loss}, {sent}, {spent}"


def _losses(report: TrainReport) -> Domain:
    return log_padded([max(point.loss.mean, _LEAST) for row in report.configurations for point in row.along], 1.08)


def _loss(value: float) -> str:
    return f"{value:.3g}"


def step_time(report: TrainReport, width: float) -> Markup:
    """Return the parts of a step, a bar a method: the time that it takes and, for ours, encoding beside it."""
    rows = sorted(report.configurations, key=lambda row: row.step_s)
    return bars_of("Time of a step", [_bar(row) for row in rows], _KEY, width)


def _bar(row: Method) -> Bar:
    parts = tuple(row.times[key] for key in PARTS)
    words = ", ".join(f"{name} {units.seconds(part)}" for (_, name), part in zip(_KEY, parts, strict=True))
    title = f"{row.group}: {words}; encoding and decoding {units.seconds(row.times['encode_s'])}"
    ratio = units.ratio(row.step_ratio) if row.step_ratio and row.group != BASELINE else ""
    return Bar(row.group, parts, title, units.seconds(row.step_s), ratio and f"{ratio} as fast", is_faster(row))
