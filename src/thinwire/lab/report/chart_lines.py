"""Charts over rounds and over bytes: progress of the metric, and the error of compression."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from thinwire.lab.report import theme, units
from thinwire.lab.report.curves import Track, beside, flagged
from thinwire.lab.report.frame import Domain, Frame, Margins, frame, log_padded, padded
from thinwire.lab.report.model import BASELINE, Configuration, Point, Report
from thinwire.lab.report.svg import canvas, path, tag
from thinwire.lab.report.theme import colour


def panel(report: Report, row: Configuration, size: tuple[float, float]) -> Markup:
    """Return a small chart of the metric by round: one configuration, uncompressed behind it."""
    metric, hue = report.metric, theme.series(report)[row.group]
    plot = frame(size, (0, max(report.rounds, 1)), metric_domain(report), Margins(38, 8, 8, 22))
    base = report.find(BASELINE)
    behind = _by_round(plot, base.points, stroke=colour("base"), stroke_width=1.5) if base else Markup("")
    own = _by_round(plot, row.points, stroke=hue, stroke_width=2.25)
    body = plot.clip(tag("g", behind), tag("g", _band(plot, row.points, hue), own), _targets(report, plot, row))
    axes = (plot.rows(lambda value: units.tick(metric, value), 4), plot.columns(lambda value: f"{value:g}", 4))
    return canvas(size, f"{metric.title} by round, {row.group}", *axes, body)


def metric_domain(report: Report) -> Domain:
    """Return the part of the metric that is worth seeing: from what uncompressed has after a fifth of the rounds."""
    shown = report.find(BASELINE) or report.configurations[0]
    early = [point.metric.mean for point in shown.points if point.round >= report.rounds / 5]
    ends = [end for row in report.configurations for end in (row.metric.low, row.metric.high)]
    best = max(ends) if report.metric.higher_is_better else min(ends)
    return padded([*early, best], 0.08)


def progress(report: Report, size: tuple[float, float]) -> Markup:
    """Return the metric against the bytes sent so far, all configurations, their names on flags above the ends."""
    rows = [row for row in report.configurations if _sent(row)]
    if not rows:
        return Markup("")
    domain = log_padded([point.sent_bytes for row in rows for point in _sent(row)])
    tracks = [_progress(report, row) for row in rows]
    plot, body = flagged(tracks, size, domain, metric_domain(report), log="x")
    axes = (plot.rows(lambda v: units.tick(report.metric, v)), plot.columns(units.size_tick, plot.x.room))
    titles = plot.titles(f"bytes sent so far, {report.all_bytes} (log scale)", report.metric.label)
    return canvas(size, f"{report.metric.title} against bytes sent", *axes, titles, body)


def _progress(report: Report, row: Configuration) -> Track:
    return Track(
        name=row.group,
        points=[(point.sent_bytes, point.metric.mean) for point in _sent(row)],
        title=f"{row.group}: {units.metric_spread(report.metric, row.metric)}, {units.size(row.total_bytes)}",
        hue=theme.series(report)[row.group],
        dash=theme.dashes(report)[row.group],
        marker=theme.markers(report)[row.group],
        place=theme.place(report, row.group),
        strong=row.group == report.verdict.winner,
        hollow=row.group == BASELINE,
        spots=[_words(report, point) for point in _sent(row)],
    )


def nmse(report: Report, direction: str, size: tuple[float, float]) -> Markup:
    """Return the error of compression by round, `direction` up or down, one named line per configuration."""
    values = {row.group: _errors(row, direction) for row in report.configurations if _errors(row, direction)}
    every = [value for points in values.values() for _, value in points]
    if not every:
        return Markup("")
    tracks = [_error(report, name, points) for name, points in values.items()]
    plot, body = beside(tracks, size, (1, max(report.rounds, 2)), log_padded(every), log="y", left=56)
    axes = (
        plot.rows(units.plain_tick),
        plot.columns(lambda value: f"{value:g}"),
        plot.titles("round", "NMSE (log scale)"),
    )
    return canvas(size, f"NMSE {direction} by round", *axes, body)


def _errors(row: Configuration, direction: str) -> list[tuple[int, float]]:
    values = [(point.round, point.up_nmse if direction == "up" else point.down_nmse) for point in row.points]
    return [(at, value) for at, value in values if value]


def _error(report: Report, name: str, points: Sequence[tuple[int, float]]) -> Track:
    title = f"{name}: NMSE {units.nmse(points[-1][1])} in round {points[-1][0]}"
    hue, dash, marker = (find(report)[name] for find in (theme.series, theme.dashes, theme.markers))
    return Track(name, points, title, hue, dash, marker=marker, place=theme.place(report, name))


def _by_round(plot: Frame, points: Sequence[Point], **style: str | float) -> Markup:
    return path([(plot.x(point.round), plot.y(point.metric.mean)) for point in points], **style)


def _band(plot: Frame, points: Sequence[Point], hue: str) -> Markup:
    upper = [(plot.x(point.round), plot.y(point.metric.high)) for point in points]
    lower = [(plot.x(point.round), plot.y(point.metric.low)) for point in reversed(points)]
    return path([*upper, *lower], fill=hue, fill_opacity=0.18)


def _targets(report: Report, plot: Frame, row: Configuration) -> Markup:
    spots = [_target(report, plot.x(point.round), plot.y(point.metric.mean), point) for point in row.points]
    return tag("g", *spots, fill="transparent")


def _target(report: Report, x: float, y: float, point: Point) -> Markup:
    return tag("circle", tag("title", _words(report, point)), cx=x, cy=y, r=6)


def _words(report: Report, point: Point) -> str:
    return f"round {point.round}: {units.metric(report.metric, point.metric.mean)}, {units.size(point.sent_bytes)}"


def _sent(row: Configuration) -> list[Point]:
    return [point for point in row.points if point.sent_bytes]
