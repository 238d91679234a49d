"""One picture of the whole comparison: the final metric against the bytes that it took."""

from __future__ import annotations

import re

from markupsafe import Markup

from thinwire.lab.report import theme, units
from thinwire.lab.report.dots import Dot, draw
from thinwire.lab.report.frame import Frame, Margins, frame, log_padded, padded
from thinwire.lab.report.kinds import Compared, Row
from thinwire.lab.report.labels import Box
from thinwire.lab.report.svg import Style, canvas, line, path, shorten, tag, text, width_of
from thinwire.lab.report.theme import colour

_NARROW = 600
_WORST = 10
"""Dots more than this many tolerances from uncompressed sit on the edge of the plot, with their value in words."""


def overview_svg(report: Compared) -> str:
    """Return one picture for a README, 900 by 420: light background, no style sheet, no script, nothing to load."""
    width, height = 900, 420
    card = tag("rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=10)
    plot = tag("g", _plot(report, (width - 44, height - 88)), transform="translate(22 76)")
    heading = text(22, 35, _heading(report), font_size=18, font_weight=650, fill=colour("ink"))
    below = text(22, 55, report.subtitle, font_size=12.5, fill=colour("muted"))
    back = tag("g", card, fill=colour("card"), stroke=colour("line"))
    look: Style = {"xmlns": "http://www.w3.org/2000/svg", "width": width, "height": height, "font_family": theme.FONT}
    picture = canvas((width, height), report.verdict.sentence, back, heading, below, plot, **look)
    return theme.literal(str(picture)) + "\n"


def overview(report: Compared, size: tuple[float, float]) -> Markup:
    """Return the picture for the page, in the colours of the page."""
    return canvas(size, report.verdict.sentence, _plot(report, size))


def _heading(report: Compared) -> str:
    best = report.best
    saved = f"{units.size(best.total_bytes)} instead of {units.size(best.baseline_bytes)}" if best else ""
    return f"{shorten(report.verdict.winner, 40)}: {saved}" if best else f"{report.metric.title} against bytes"


def _saved(report: Compared) -> str:
    best = report.best
    return f"{units.round_ratio(best.total_ratio)} fewer bytes" if best and best.total_ratio else ""


def _plot(report: Compared, size: tuple[float, float]) -> Markup:
    metric, base = report.metric, report.find(report.baseline)
    plot = _frame(report, size)
    titles = plot.titles(f"bytes of a whole run, {report.all_bytes} (log scale)", f"final {metric.label}")
    rows = plot.rows(lambda value: units.tick(metric, value))
    columns = plot.columns(units.size_tick, plot.x.room)
    zone = _zone(report, plot, base) if base else Markup("")
    dots = draw([_dot(report, plot, row) for row in report.configurations], plot.box, _taken(report, plot))
    return tag("g", zone, rows, columns, titles, _arrow(report, plot), dots)


def _frame(report: Compared, size: tuple[float, float]) -> Frame:
    base = report.find(report.baseline)
    heights = [_held(report, row.metric.mean + step) for row in report.configurations for step in _steps(row)]
    zone = [_edge(report, base)] if base else []
    sizes = [max(row.total_bytes, 1.0) for row in report.configurations]
    return frame(size, log_padded(sizes, 1.6), padded([*heights, *zone], 0.14), Margins(top=48), log="x")


def _steps(row: Row) -> tuple[float, float, float]:
    return -(row.metric.sd or 0.0), 0.0, row.metric.sd or 0.0


def _edge(report: Compared, base: Row) -> float:
    return report.metric.edge(base.metric.mean, report.tolerance)


def _held(report: Compared, value: float) -> float:
    base, metric = report.find(report.baseline), report.metric
    worst = metric.edge(base.metric.mean, _WORST * report.tolerance) if base else value
    return max(value, worst) if metric.higher_is_better else min(value, worst)


def _dot(report: Compared, plot: Frame, row: Row) -> Dot:
    low, middle, high = (_held(report, row.metric.mean + step) for step in _steps(row))
    value = units.metric_spread(report.metric, row.metric)
    cut = middle != row.metric.mean
    return Dot(
        x=plot.x(max(row.total_bytes, 1.0)),
        y=plot.y(middle),
        low_y=plot.y(low),
        high_y=plot.y(high),
        name=f"{row.group} {units.metric(report.metric, row.metric.mean)}, off the scale" if cut else row.group,
        title=f"{row.group}: {value}, {units.size(row.total_bytes)}, {units.ratio(row.total_ratio)} fewer bytes",
        colour=theme.series(report)[row.group],
        strong=row.group == report.verdict.winner,
        hollow=row.group == report.baseline,
        marker=theme.markers(report)[row.group],
    )


def _zone(report: Compared, plot: Frame, base: Row) -> Markup:
    better = plot.box.top if report.metric.higher_is_better else plot.box.bottom
    ends = sorted((plot.y(_edge(report, base)), better))
    area = tag("rect", x=plot.x.start, y=ends[0], width=plot.x.end - plot.x.start, height=ends[1] - ends[0])
    level = plot.y(base.metric.mean)
    middle = line(plot.x.start, level, plot.x.end, level, stroke=colour("base"), stroke_dasharray="2 4")
    note = _note(report, plot)
    label = text(note.left, note.bottom - 3, _rule(report, plot), font_size=11, fill=colour("good"))
    return tag("g", tag("g", area, fill=colour("keep")), middle, label)


def _rule(report: Compared, plot: Frame) -> str:
    unit = re.sub("percentage points?", "pp", units.points(report.metric, report.tolerance))
    return f"within {unit} of {report.baseline}" if plot.width > _NARROW else f"within {unit}"


def _note(report: Compared, plot: Frame) -> Box:
    base = report.find(report.baseline)
    y = plot.y(_edge(report, base)) - 2 if base else plot.box.bottom
    y += 0 if report.metric.higher_is_better else 17
    return Box(plot.x.start + 8, y - 13, plot.x.start + 8 + width_of(_rule(report, plot), 11), y)


def _taken(report: Compared, plot: Frame) -> list[Box]:
    level = plot.box.top - 8
    return [_note(report, plot), Box(plot.x.start, level - 24, plot.x.end, level + 2)]


def _arrow(report: Compared, plot: Frame) -> Markup:
    best, base = report.best, report.find(report.baseline)
    if best is None or base is None:
        return Markup("")
    ends = [_dot(report, plot, row) for row in (best, base)]
    x, start, y = ends[0].x, ends[1].x, plot.box.top - 8
    drops = [line(end.x, y, end.x, end.y, stroke_dasharray="1 3") for end in ends]
    head = path([(x + 8, y - 4), (x, y), (x + 8, y + 4)], stroke_width=1.5)
    middle: Style = {"anchor": "middle", "font_size": 15, "font_weight": 650, "stroke": "none", "fill": colour("ink")}
    label = text((x + start) / 2, y - 8, _saved(report), **middle)
    return tag("g", *drops, line(start, y, x, y, stroke_width=1.5), head, label, stroke=colour("muted"))
