"""From a folder of runs to three files, or to one clear error and no file touched."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from thinwire.files import write_files
from thinwire.lab.report.distributed import load as train_load
from thinwire.lab.report.distributed import pages as train_pages
from thinwire.lab.report.distributed.model import TrainReport
from thinwire.lab.report.distributed.summary import summarise as summarise_training
from thinwire.lab.report.fields import TRAIN_SCHEMA, Fields
from thinwire.lab.report.html import render_html
from thinwire.lab.report.load import load_run, read_files
from thinwire.lab.report.markdown import render_markdown
from thinwire.lab.report.model import Configuration, Report
from thinwire.lab.report.summary import summarise
from thinwire.lab.report.verdict import rule

SCHEMA = "thinwire.report/1"


@dataclass(frozen=True)
class Written:
    """A report and the files that hold it."""

    report: Report | TrainReport
    html: Path
    markdown: Path
    json: Path


def write_report(folder: Path, out: Path | None = None) -> Written:
    """Read `<folder>/runs/*.json` and write report.html, report.md and report.json to `out` (default: the folder).

    Federated runs and data-parallel ones each have their report; a folder holds runs of one kind. All three files are
    made before the first is written, and each replaces its predecessor in one step.

    Raises:
        ValueError: there is no run, or a file is not a run; the text says which file and field, and what to do.
    """
    tops = read_files(folder)
    report, texts = _training(tops) if tops[0].schema == TRAIN_SCHEMA else _federated(tops)
    place = out or folder
    place.mkdir(parents=True, exist_ok=True)
    paths = {kind: place / f"report.{kind}" for kind in texts}
    write_files({paths[kind]: text for kind, text in texts.items()})
    return Written(report, paths["html"], paths["md"], paths["json"])


def _federated(tops: list[Fields]) -> tuple[Report, dict[str, str]]:
    report = summarise([load_run(top) for top in tops])
    return report, {"html": render_html(report), "md": render_markdown(report), "json": render_json(report)}


def _training(tops: list[Fields]) -> tuple[TrainReport, dict[str, str]]:
    report = summarise_training([train_load.load_run(top) for top in tops])
    made = (train_pages.render_html, train_pages.render_markdown, train_pages.render_json)
    return report, {kind: render(report) for kind, render in zip(("html", "md", "json"), made, strict=True)}


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
