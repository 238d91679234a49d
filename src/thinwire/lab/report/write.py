"""From a folder of runs to three files, or to one clear error and no file touched."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from thinwire.lab.replace import replace_files
from thinwire.lab.report.html import render_html
from thinwire.lab.report.load import load_runs
from thinwire.lab.report.markdown import render_markdown
from thinwire.lab.report.model import Configuration, Report
from thinwire.lab.report.summary import summarise
from thinwire.lab.report.verdict import rule

SCHEMA = "thinwire.report/1"


@dataclass(frozen=True)
class Written:
    """A report and the files that hold it."""

    report: Report
    html: Path
    markdown: Path
    json: Path


def write_report(folder: Path, out: Path | None = None) -> Written:
    """Read `<folder>/runs/*.json` and write report.html, report.md and report.json to `out` (default: the folder).

    All three are made before the first is written, and each replaces its predecessor in one step.

    Raises:
        ValueError: there is no run, or a file is not a run; the text says which file and field, and what to do.
    """
    report = summarise(load_runs(folder))
    texts = {"html": render_html(report), "md": render_markdown(report), "json": render_json(report)}
    place = out or folder
    place.mkdir(parents=True, exist_ok=True)
    paths = {kind: place / f"report.{kind}" for kind in texts}
    replace_files({paths[kind]: text for kind, text in texts.items()})
    return Written(report, paths["html"], paths["md"], paths["json"])


def render_json(report: Report) -> str:
    """Return all figures as JSON text: fractions, bytes and seconds without rounding, null where there is none."""
    data = {"schema": SCHEMA, "rule": rule(report.metric)} | dataclasses.asdict(report)
    data["verdict"]["sentence"] = report.verdict.sentence
    if report.pairing_verdict:
        data["pairing_verdict"]["sentence"] = report.pairing_verdict.sentence
    for row, item in zip(report.configurations, data["configurations"], strict=True):
        item |= {"codec_share": row.codec_share, "best": _is_best(report, row)}
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _is_best(report: Report, row: Configuration) -> bool:
    return row.group == report.verdict.winner
