"""The report as one HTML page that opens anywhere: no script, no font, no picture to load."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from thinwire.lab.report import chart_bars, chart_lines, theme, units, words
from thinwire.lab.report.chart_overview import overview
from thinwire.lab.report.kinds import Compared, Row
from thinwire.lab.report.model import BASELINE, Configuration, Report
from thinwire.lab.report.svg import tag
from thinwire.lab.report.tables import by_round, figures
from thinwire.lab.report.verdict import rule

_HERE = Path(__file__).parent
_UNITS = re.compile(r"(?<=\d) (?=(?:[kMGT]?B|[mµ]?s|min|h|pp|percentage)\b)")
Size = tuple[float, float]
FULL, HALF, _PANEL = ((1060, 430), (370, 400)), ((520, 300), (370, 270)), ((250, 150), (172, 124))
"""Widths and heights in pixels on a wide page and on a phone."""
_STARTS = (1, 3, 6, 10, 12, 14)
"""Columns of the main table that start a group, counted without the column that the mark replaces."""


def render_html(report: Report) -> str:
    """Return the whole page."""
    return page("page.html.j2", report, _words(report) | _charts(report) | _tables(report))


def page(template: str, report: Compared, values: dict[str, object]) -> str:
    """Fill a template, with what all pages have besides `values`."""
    return _environment().get_template(template).render(_shared(report) | values)


def tight(text: str) -> str:
    """Keep a number and its unit on one line."""
    return _UNITS.sub("\u00a0", text)


def _environment() -> Environment:
    found = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    found.filters["tight"] = tight
    return found


def _shared(report: Compared) -> dict[str, object]:
    return {
        "light": Markup(theme.variables(theme.LIGHT)),
        "dark": Markup(theme.variables(theme.DARK)),
        "style": Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        "subtitle": report.subtitle,
        "verdict": report.verdict,
        "metric": report.metric,
        "settings": report.settings,
    }


def _words(report: Report) -> dict[str, object]:
    return {
        "second": report.pairing_verdict,
        "rule": rule(report.metric),
        "notes": report.notes,
        "counting": words.COUNTING,
        "nmse_words": words.NMSE,
        "codec_words": words.CODEC,
        "transfer": words.TRANSFER,
    }


def _charts(report: Report) -> dict[str, object]:
    hues = theme.series(report)
    compared = [row for row in report.configurations if row.group != BASELINE] or list(report.configurations)
    return {
        "overview": both(lambda size: overview(report, size), FULL),
        "progress": both(lambda size: chart_lines.progress(report, size), FULL),
        "panels": [_panel(report, row, hues[row.group]) for row in compared],
        "directions": both(lambda size: chart_bars.bytes_by_direction(report, size[0]), HALF),
        "tensors": both(lambda size: chart_bars.bytes_by_tensor(report, size[0]), HALF),
        "codec": both(lambda size: chart_bars.codec_time(report, size[0]), FULL),
        "nmse_up": both(lambda size: chart_lines.nmse(report, "up", size), HALF),
        "nmse_down": both(lambda size: chart_lines.nmse(report, "down", size), HALF),
    }


def both(draw: Callable[[Size], Markup], sizes: tuple[Size, Size]) -> Markup:
    """Return a chart twice: for a wide page, and for a phone."""
    wide, narrow = map(draw, sizes)
    drawn = tag("div", wide, class_="wide") + tag("div", narrow, class_="narrow")
    return drawn if wide else Markup("")


def _panel(report: Report, row: Configuration, hue: str) -> dict[str, object]:
    gap = f", {units.difference(report.metric, row.difference.mean)}" if row.difference else ""
    unit = " pp" if gap and report.metric.percent else ""
    value = f"{units.metric(report.metric, row.metric.mean)}{gap}{unit}"
    chart = both(lambda size: chart_lines.panel(report, row, size), _PANEL)
    return {"name": row.group, "hue": hue, "value": value, "chart": chart}


def _tables(report: Report) -> dict[str, object]:
    times = words.transfer_times(report, report.best) if report.best else ()
    hues, rows = theme.series(report), figures(report).rows
    drawn = zip(report.configurations, rows, strict=True)
    return {
        "figures": [figure_row(report, row, cells, hues[row.group], _STARTS) for row, cells in drawn],
        "by_round": by_round(report),
        "links": times,
        "scale": _scale(report),
        "codec_cost": _codec_cost(report.best) if report.best and report.best.codec_share else None,
    }


def figure_row(report: Compared, row: Row, cells: Sequence[str], hue: str, starts: Sequence[int]) -> dict[str, object]:
    """Return a row of the table of figures for the page; ``starts``: the cells that begin a group of columns."""
    group, final, gap, kept, *rest = cells
    drawn = [
        {"text": text, "kind": "start" if at in starts else "", "mark": ""}
        for at, text in enumerate([final, gap, *rest], 1)
    ]
    drawn[1] |= {"kind": kept if kept in ("yes", "no") else "", "mark": {"yes": "✓", "no": "✗"}.get(kept, "")}
    return {"group": group, "name": row.name, "hue": hue, "best": group == report.verdict.winner, "cells": drawn}


def _scale(report: Report) -> list[dict[str, object]]:
    second = report.find(report.pairing_verdict.winner) if report.pairing_verdict else None
    return scale(report, [second] if second else [])


def scale(report: Compared, others: Sequence[Row]) -> list[dict[str, object]]:
    """Return the bytes of the baseline, of `others` and of the best as lengths; nothing without the two."""
    base, best = report.find(report.baseline), report.best
    if base is None or best is None:
        return []
    rows = [base, *(row for row in others if row.group != best.group), best]
    longest = max(row.total_bytes for row in rows) or 1
    return [_length(row, row.total_bytes / longest, row is best) for row in rows]


def _codec_cost(row: Configuration) -> dict[str, str]:
    return {"time": units.seconds(row.codec_s), "share": units.share(row.codec_share)}


def _length(row: Row, part: float, best: bool) -> dict[str, object]:
    return {"name": row.group, "width": f"{86 * part:.2f}%", "size": units.size(row.total_bytes), "best": best}
