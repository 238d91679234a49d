"""Charts over rounds and over bytes: progress of the metric, and the error of compression."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from thinwire.lab.report import flags, theme, units
from thinwire.lab.report.dots import Dot, width
from thinwire.lab.report.frame import Domain, Frame, Margins, frame, log_padded, padded
from thinwire.lab.report.labels import spread
from thinwire.lab.report.model import BASELINE, Configuration, Point, Report
from thinwire.lab.report.svg import canvas, line, path, shorten, tag, text, width_of
from thinwire.lab.report.theme import colour


def panel(report: Report, row: Configuration, size: tuple[float, float]) -> Markup:
    """Return a small chart of the metric by round: one configuration, uncompressed behind it."""
    metric, hue = report.metric, theme.series(report.configurations)[row.group]
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
    plot = _room_for_names(report, rows, size)
    hues = theme.series(report.configurations)
    lines = [tag("g", _by_bytes(plot, row, hues[row.group], report), class_="series") for row in rows]
    names = flags.draw([_end(report, plot, row, hues[row.group]) for row in rows], plot.box.top)
    body = tag("g", plot.clip(*lines), names, class_="series-set")
    axes = (plot.rows(lambda v: units.tick(report.metric, v)), plot.columns(units.size_tick, plot.x.room))
    titles = plot.titles("bytes sent so far, all clients, both directions (log scale)", report.metric.label)
    return canvas(size, f"{report.metric.title} against bytes sent", *axes, titles, body)


def _room_for_names(report: Report, rows: Sequence[Configuration], size: tuple[float, float]) -> Frame:
    domain = log_padded([point.sent_bytes for row in rows for point in _sent(row)])
    plot = frame(size, domain, metric_domain(report), Margins(), log="x")
    ends = [_end(report, plot, row, "") for row in rows]
    shares = [(end.x - plot.x.start) / (plot.x.end - plot.x.start) for end in ends]
    beyond = [(end.x + width(end) + 8 - size[0]) / share for end, share in zip(ends, shares, strict=True) if share]
    steps = flags.levels([end.x for end in ends], [width(end) for end in ends])
    room = Margins(right=14 + max(0.0, *beyond), top=30 + flags.STEP * (max(steps) + 2))
    return frame(size, domain, metric_domain(report), room, log="x")


def nmse(report: Report, direction: str, size: tuple[float, float]) -> Markup:
    """Return the error of compression by round, `direction` up or down, one named line per configuration."""
    tracks = {row.group: _errors(row, direction) for row in report.configurations if _errors(row, direction)}
    values = [value for track in tracks.values() for _, value in track]
    if not values:
        return Markup("")
    right = 24 + max(width_of(shorten(name)) for name in tracks)
    plot = frame(size, (1, max(report.rounds, 2)), log_padded(values), Margins(56, right), log="y")
    axes = (plot.rows(units.nmse), plot.columns(lambda value: f"{value:g}"), plot.titles("round", "NMSE (log scale)"))
    hues = theme.series(report.configurations)
    ends = spread([plot.y(track[-1][1]) for track in tracks.values()], 15, plot.box.top, plot.box.bottom)
    drawn = [
        _error(plot, name, track, end, hues[name]) for (name, track), end in zip(tracks.items(), ends, strict=True)
    ]
    return canvas(size, f"NMSE {direction} by round", *axes, tag("g", *drawn, class_="series-set"))


def _errors(row: Configuration, direction: str) -> list[tuple[int, float]]:
    values = [(point.round, point.up_nmse if direction == "up" else point.down_nmse) for point in row.points]
    return [(at, value) for at, value in values if value]


def _error(plot: Frame, name: str, track: Sequence[tuple[int, float]], end: float, hue: str) -> Markup:
    points = [(plot.x(at), plot.y(value)) for at, value in track]
    x, edge = points[-1][0], plot.x.end
    leader = line(x + 3, points[-1][1], edge + 10, end, stroke=colour("axis"))
    label = text(edge + 13, end + 4, shorten(name), fill=colour("ink"))
    dot = tag("circle", cx=x, cy=points[-1][1], r=3, fill=hue)
    title = tag("title", f"{name}: NMSE {units.nmse(track[-1][1])} in round {track[-1][0]}")
    return tag("g", title, path(points, stroke=hue, stroke_width=2), leader, dot, label, class_="series")


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
    title = f"round {point.round}: {units.metric(report.metric, point.metric.mean)}, {units.size(point.sent_bytes)}"
    return tag("circle", tag("title", title), cx=x, cy=y, r=6)


def _sent(row: Configuration) -> list[Point]:
    return [point for point in row.points if point.sent_bytes]


def _track(plot: Frame, row: Configuration) -> list[tuple[float, float]]:
    return [(plot.x(point.sent_bytes), plot.y(point.metric.mean)) for point in _sent(row)]


def _by_bytes(plot: Frame, row: Configuration, hue: str, report: Report) -> Markup:
    track = _track(plot, row)
    targets = [_target(report, x, y, point) for (x, y), point in zip(track, _sent(row), strict=True)]
    width = 3 if row.group == report.verdict.winner else 1.75
    return tag("g", path(track, stroke=hue, stroke_width=width), tag("g", *targets, fill="transparent"))


def _end(report: Report, plot: Frame, row: Configuration, hue: str) -> Dot:
    x, y = _track(plot, row)[-1]
    y = min(max(y, plot.box.top), plot.box.bottom)
    title = f"{row.group}: {units.metric_spread(report.metric, row.metric)}, {units.size(row.total_bytes)}"
    return Dot(x, y, y, y, row.group, title, hue, row.group == report.verdict.winner, row.group == BASELINE)
