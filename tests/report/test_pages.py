"""The pages: the three files say the same, in safe text, with honest units."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_data import federation, make, save

from thinwire.cli.screen import folded, table
from thinwire.lab.report import overview_svg, units, write_report
from thinwire.lab.report.model import Metric


def test_auc_is_in_units_of_its_own(tmp_path: Path) -> None:
    runs = [make("uncompressed", 0.9, 8000), make("a", 0.8979, 800)]
    for run in runs:
        run["metric"]["name"] = "auc"
    written = write_report(save(tmp_path, *runs))
    assert written.report.verdict.rest.endswith("within 0.005 of its AUC on one seed.")
    text = written.markdown.read_text(encoding="utf-8")
    assert "| a | 0.8979 | −0.0021 |" in text
    assert "pp" not in text
    assert "percentage" not in text


HOSTILE = "<img src=x onerror=alert(1)>|*b*\n'\"&"


def test_user_text_is_text_everywhere(tmp_path: Path) -> None:
    run = make(HOSTILE, 0.9, 800, uplink=HOSTILE, note=HOSTILE)
    run |= {"name": HOSTILE, "source": HOSTILE, "environment": {HOSTILE: HOSTILE}}
    run["model"]["tensors"] = {HOSTILE: {"shape": [HOSTILE], "up_bytes": 1, "down_bytes": 1}}
    base = make("uncompressed", 0.9, 8000, note=HOSTILE)
    written = write_report(save(tmp_path, base, run))
    assert written.report.verdict.winner == HOSTILE
    for text in (written.html.read_text("utf-8"), written.markdown.read_text("utf-8"), overview_svg(written.report)):
        assert "<img" not in text
    rows = table_of(written.markdown.read_text("utf-8"))
    assert {len(row) for row in rows} == {16}


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    page = write_report(save(tmp_path, *federation())).html.read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script|<link|@import|url\(|\bsrc=|\bhref=", page)
    assert "prefers-color-scheme: dark" in page


class Cells(HTMLParser):
    """The body cells of the main table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside |= tag == "table" and ("class", "figures") in attrs
        self._cell = self._inside and tag in ("td", "span")
        if self._inside and tag in ("tr", "td"):
            self.rows.append([]) if tag == "tr" else self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "table"
        self._cell &= tag == "span"

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data.replace("\u00a0", " ").strip()


def table_of(markdown: str) -> list[list[str]]:
    """Return the figures as one table: they are written as narrower ones that begin with the same column."""
    pieces = markdown.split("## Figures")[1].split("\n## ")[0].split("\n\n")
    tables = [piece.splitlines() for piece in pieces if piece.startswith("|")]
    rows = [[cells(line) for line in lines if "---" not in line] for lines in tables]
    assert all([row[0] for row in table] == [row[0] for row in rows[0]] for table in rows)
    return [[row[0][0], *(cell for part in row for cell in part[1:])] for row in zip(*rows, strict=True)]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_three_files_agree(tmp_path: Path) -> None:
    written = write_report(save(tmp_path, *federation()))
    data = json.loads(written.json.read_text(encoding="utf-8"))
    markdown = table_of(written.markdown.read_text(encoding="utf-8"))[1:]
    found = Cells()
    found.feed(written.html.read_text(encoding="utf-8"))
    page = [row for row in found.rows if row]
    assert data["schema"] == "thinwire.report/1"
    assert len(page) == len(markdown) == len(data["configurations"]) == 5
    for row, line, item in zip(page, markdown, data["configurations"], strict=True):
        assert [re.sub("[ ✓✗]+$", "", cell) for cell in row] == [re.sub(r"\\", "", c) for c in line[:3] + line[4:]]
        assert line[0] == item["group"]
        assert line[1].startswith(f"{100 * item['metric']['mean']:.2f}%")
        assert line[4:7] == [units.size(item[key]) for key in ("total_bytes", "up_bytes", "down_bytes")]
        ratios = ("total_ratio", "up_ratio", "down_ratio", "payload_ratio")
        assert line[7:11] == [units.ratio(item[key]) for key in ratios]
        assert line[13:15] == [units.seconds(item["codec_s"]), units.share(item["codec_share"])]
    assert data["verdict"]["sentence"] in written.markdown.read_text(encoding="utf-8").replace("*", "")
    assert [item["total_ratio"] for item in data["configurations"]] == sorted(
        (item["total_ratio"] for item in data["configurations"]), reverse=True
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.00 kB"),
        (1310000, "1.31 MB"),
        (41_200_000, "41.2 MB"),
        (999_600, "1.00 MB"),
    ],
)
def test_bytes_are_decimal_with_three_digits(value: float, text: str) -> None:
    assert units.size(value) == text


@given(st.floats(0, 0.5))
def test_within_never_promises_too_much(loss: float) -> None:
    kind = Metric("accuracy", True)
    promised = units.ceiling(kind, loss)
    assert loss <= promised + 1e-9
    assert promised < loss + 0.00101


def test_a_table_on_the_screen_folds_long_names(capsys: pytest.CaptureFixture[str]) -> None:
    name = "topk-0.01-values-uniform-bits-8+errorbound-nmse-0.05-codec-rdoq"
    table(("configuration", "bytes"), [line for row in ((name, "1.30 MB"), ("auto", "3 MB")) for line in folded(row)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 36 + 2 + len("1.30 MB")
    assert "".join(lines[1:-1]).replace(" ", "").replace("1.30MB", "") == name
    assert lines[-1].split() == ["auto", "3", "MB"]
