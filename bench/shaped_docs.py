"""The tables of `bench/shaped.py` for docs/: methods by links, figures behind markers with their place in results/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from figures import shown

Row = Mapping[str, Any]
TITLES = {"exposed_s": "Seconds that training waits in a step", "step_s": "Seconds of a whole step"}
OTHERS = {
    "bytes, times fewer": ("less", ".1f"), "interface, more": ("over", "+.1f%"),
    "without headers": ("over_without_headers", "+.1f%"), "loss of the last step": ("loss", ".3f"),
}  # fmt: skip


def marked(rows: Sequence[Row], file: str) -> Iterator[str]:
    """Yield the lines of Markdown tables."""
    for model in dict.fromkeys(row["model"] for row in rows):
        own = sorted((row for row in rows if row["model"] == model), key=lambda row: row["nominal_bps"] or float("inf"))
        for field, title in TITLES.items():
            yield from ("", f"{title}, {model}:", "", *_by_link(own, field, file))
        fastest = [row for row in own if row["nominal_bps"]][-1]["link"]
        yield from ("", f"Of {model} at {fastest}:", "", *_others([row for row in own if row["link"] == fastest], file))


def _by_link(rows: Sequence[Row], field: str, file: str) -> Iterator[str]:
    links = list(dict.fromkeys(row["link"] for row in rows))
    yield from _head(["method", *links])
    for name, own in _by_method(rows):
        found = {row["link"]: _marker(row, field, ".3f", file) for row in own}
        yield _line([name, *(found.get(link, "-") for link in links)])


def _others(rows: Sequence[Row], file: str) -> Iterator[str]:
    yield from _head(["method", *OTHERS])
    for name, (row,) in _by_method(rows):
        yield _line([name, *(_marker(row, field, form, file) for field, form in OTHERS.values())])


def _by_method(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for method, pipeline in dict.fromkeys((row["method"], row["pipeline"]) for row in rows):
        own = [row for row in rows if (row["method"], row["pipeline"]) == (method, pipeline)]
        yield f"`{method}`{', pipeline' if pipeline else ''}", own


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|---" * len(cells) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _marker(row: Row, field: str, form: str, file: str) -> str:
    unit = " %" if form.endswith("%") else ""
    return f"<!--={file}:rows/id={row['id']}/{field} {form}-->{shown(row[field], form)}{unit}"
