"""The report of data-parallel runs as a page, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json

from thinwire.lab.report import tables, theme
from thinwire.lab.report.chart_overview import overview
from thinwire.lab.report.distributed import charts, words
from thinwire.lab.report.distributed.model import TrainReport
from thinwire.lab.report.distributed.tables import estimates, figures, times
from thinwire.lab.report.distributed.verdict import rule
from thinwire.lab.report.html import FULL, both, figure_row, page, scale
from thinwire.lab.report.markdown import escape, listed, settings_text, table, verdict
from thinwire.lab.report.tables import Table, by_round

SCHEMA = "thinwire.report-train/1"
_STARTS = (1, 4, 7, 8)
"""Columns of the main table that start a group, counted without the column that the mark replaces."""


def render_html(report: TrainReport) -> str:
    """Return the whole page."""
    return page("distributed/page.html.j2", report, _words(report) | _charts(report) | _tables(report))


def _words(report: TrainReport) -> dict[str, object]:
    return {
        "second": report.time_verdict,
        "rule": rule(report.metric),
        "notes": report.notes,
        "counting": words.COUNTING,
        "times_words": words.TIMES,
        "curves_words": words.curves(report),
        "link_words": words.link(report),
    }


def _charts(report: TrainReport) -> dict[str, object]:
    drawn: dict[str, object] = {
        "overview": both(lambda size: overview(report, size), FULL),
        "by_step": both(lambda size: charts.loss_by_step(report, size), FULL),
        "by_bytes": both(lambda size: charts.loss_by_bytes(report, size), FULL),
        "by_time": "",
        "step_time": "",
    }
    if not report.simulated:
        drawn["by_time"] = both(lambda size: charts.loss_by_time(report, size), FULL)
        drawn["step_time"] = both(lambda size: charts.step_time(report, size[0]), FULL)
    return drawn


def _tables(report: TrainReport) -> dict[str, object]:
    hues, rows = theme.series(report), figures(report).rows
    drawn = zip(report.configurations, rows, strict=True)
    return {
        "heads": [*figures(report).head[:3], *figures(report).head[4:]],
        "figures": [figure_row(report, row, cells, hues[row.group], _STARTS) for row, cells in drawn],
        "times": times(report),
        "estimates": estimates(report),
        "by_round": by_round(report),
        "scale": scale(report, []),
    }


def render_markdown(report: TrainReport) -> str:
    """Return the whole report as GitHub Markdown."""
    second = verdict(report.time_verdict) if report.time_verdict else []
    notes = listed(("Note", note) for note in report.notes)
    start = [f"# Compression report: {escape(report.subtitle)}", *verdict(report.verdict), *second]
    parts = [
        *start,
        escape(rule(report.metric)),
        notes,
        "## Figures",
        *map(table, tables.parts(figures(report), 5)),
        escape(words.COUNTING),
    ]
    if not report.simulated:
        parts += ["## Time of a step", escape(words.link(report)), table(times(report)), escape(words.TIMES)]
    parts += _section("What compression is worth on this link", estimates(report))
    parts += _section(f"{report.metric.title} by epoch, mean over seeds", by_round(report))
    return "\n\n".join(text for text in (*parts, *settings_text(report)) if text) + "\n"


def _section(title: str, data: Table) -> list[str]:
    return [f"## {escape(title)}", table(data)] if data.rows else []


def render_json(report: TrainReport) -> str:
    """Return all figures as JSON text: fractions, bytes and seconds without rounding, null where there is none."""
    data = {"schema": SCHEMA, "rule": rule(report.metric)} | dataclasses.asdict(report)
    for name, judged in (("verdict", report.verdict), ("time_verdict", report.time_verdict)):
        if judged:
            data[name]["sentence"] = judged.sentence
    for row, item in zip(report.configurations, data["configurations"], strict=True):
        item |= {"step_s": row.step_s, "best": row.group == report.verdict.winner}
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
