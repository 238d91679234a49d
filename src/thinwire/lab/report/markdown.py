"""The report as Markdown: the same sentences and tables, no picture needed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from thinwire.lab.report import words
from thinwire.lab.report.kinds import Compared
from thinwire.lab.report.model import Report, Verdict
from thinwire.lab.report.tables import Table, by_round, figures, parts, tensors
from thinwire.lab.report.verdict import rule


def render_markdown(report: Report) -> str:
    """Return the whole report as GitHub Markdown."""
    sections = (_verdicts, _figures, _tensors, _rounds, settings_text)
    return "\n\n".join(text for section in sections for text in section(report) if text) + "\n"


def escape(text: str) -> str:
    """Make user text plain: no markup, no HTML, no end of a table cell, no line break."""
    flat = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", flat)


def table(data: Table) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    ruler = "| --- |" + " ---: |" * (len(data.head) - 1)
    return "\n".join([_line(data.head), ruler, *map(_line, data.rows)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"


def _verdicts(report: Report) -> list[str]:
    heading = f"# Compression report: {escape(report.subtitle)}"
    second = verdict(report.pairing_verdict) if report.pairing_verdict else []
    notes = listed(("Note", note) for note in report.notes)
    return [heading, *verdict(report.verdict), *second, escape(rule(report.metric)), notes]


def verdict(judged: Verdict) -> list[str]:
    """Return a verdict and what backs it."""
    bold = f"**{escape(judged.winner)}**" if judged.winner else ""
    return [escape(judged.lead) + bold + escape(judged.rest), escape(judged.detail)]


def _figures(report: Report) -> list[str]:
    notes = [escape(text) for text in (words.COUNTING, words.NMSE, words.CODEC)]
    return ["## Figures", *map(table, parts(figures(report), 7, 11)), *notes, *_links(report)]


def _links(report: Report) -> list[str]:
    times = words.transfer_times(report, report.best) if report.best else ()
    data = Table(("link", report.verdict.winner, "uncompressed"), times)
    return ["## Time on the wire, per client", escape(words.TRANSFER), table(data)] if times else []


def _tensors(report: Report) -> list[str]:
    best = report.best
    return [f"## Bytes by tensor, {escape(best.group)}", table(tensors(best))] if best and best.tensors else []


def _rounds(report: Report) -> list[str]:
    return [f"## {escape(report.metric.title)} by round, mean over seeds", table(by_round(report))]


def settings_text(report: Compared) -> list[str]:
    """Return what differs, what does not, and where the runs took place."""
    settings = report.settings
    differing = "\n".join(_described(settings.differing_names, row) for row in settings.differing)
    equal, environment = listed(settings.shared), listed(settings.environment)
    return ["## What differs", differing, "## Equal for all runs", equal, "## Environment", environment]


def _described(names: Sequence[str], values: Sequence[str]) -> str:
    """Return what sets a configuration apart as an item of a list: texts of codecs are too long for a table."""
    rest = listed(zip(names[1:], values[1:], strict=True)).replace("- ", "  - ").splitlines()
    return "\n".join([f"- **{escape(values[0])}**", *rest])


def listed(items: Iterable[tuple[str, str]]) -> str:
    """Return a list of names and values."""
    return "\n".join(f"- {escape(name)}: {escape(value)}" for name, value in items)
