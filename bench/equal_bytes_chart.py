"""The picture of the study at equal bytes, from its JSON alone: one panel a task, one dot a method and ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from thinwire.lab.report import theme
from thinwire.lab.report.dots import Dot, circle, draw
from thinwire.lab.report.frame import Frame, Margins, frame, padded
from thinwire.lab.report.svg import canvas, line, tag, text
from thinwire.lab.report.theme import colour

Row = Mapping[str, Any]

PANEL = (560, 300)
GAP, HEAD, TITLE = 26, 66, 22
LOWEST = 0.8
"""Of dense: what falls below sits on the lower edge."""
TITLE_TEXT = "Federated accuracy at equal uplink bytes"


def equal_bytes_svg(results: Sequence[Mapping[str, Any]]) -> str:
    """Return one picture of all tasks: light background, no style sheet, no script, nothing to load."""
    across, down = min(2, max(1, len(results))), -(-len(results) // 2) or 1
    size = across * (PANEL[0] + GAP) + GAP, HEAD + down * (TITLE + PANEL[1] + GAP)
    card = tag("rect", x=0.5, y=0.5, width=size[0] - 1, height=size[1] - 1, rx=10)
    back = tag("g", card, fill=colour("card"), stroke=colour("line"))
    panels = [_placed(_panel(result), at) for at, result in enumerate(results)]
    style: dict[str, Any] = {"width": size[0], "height": size[1], "font_family": theme.FONT}
    picture = canvas(size, TITLE_TEXT, back, _head(), *panels, xmlns="http://www.w3.org/2000/svg", **style)
    return theme.literal(str(picture)) + "\n"


def _head() -> Markup:
    title = text(GAP, 32, TITLE_TEXT, font_size=18, font_weight=650, fill=colour("ink"))
    how = "blue: auto, with its standard error; grey: fixed methods, the best one named; line: dense"
    return tag("g", title, text(GAP, 52, how, font_size=12.5, fill=colour("muted")))


def _placed(panel: Markup, at: int) -> Markup:
    x, y = GAP + (at % 2) * (PANEL[0] + GAP), HEAD + TITLE + (at // 2) * (TITLE + PANEL[1] + GAP)
    return tag("g", panel, transform=f"translate({x:g} {y:g})")


def _panel(result: Mapping[str, Any]) -> Markup:
    rows = [row for row in result["methods"] if row["method"] != "dense"]
    dense = next(row["final"] for row in result["methods"] if row["method"] == "dense")
    floor = max(LOWEST * dense, min(row["final"] for row in rows))
    plot = frame(PANEL, (24, 180), padded([floor, dense, *(row["final"] for row in rows)]), Margins(top=30), log="x")
    best = {(row["best"]["method"], row["ratio"]) for row in result["summary"]}
    named = [row for row in rows if row["method"] == "auto" or (row["method"], row["ratio"]) in best]
    quiet = [circle(_dot(plot, row, floor)) for row in rows if row not in named]
    level = line(plot.x.start, plot.y(dense), plot.x.end, plot.y(dense), stroke=colour("base"), stroke_dasharray="4 3")
    columns = plot.columns(lambda value: f"{value:g}x")
    title = text(0, -8, result["task"], font_size=14, font_weight=650, fill=colour("ink"))
    axes = [plot.rows(lambda value: f"{value:g}"), columns, plot.titles("fewer bytes up", result["metric"])]
    return tag("g", title, *axes, level, *quiet, draw([_dot(plot, row, floor) for row in named], plot.box, []))


def _dot(plot: Frame, row: Row, floor: float) -> Dot:
    ours, error = row["method"] == "auto", row["standard_error"] or 0.0
    value = max(row["final"], floor)
    return Dot(
        x=plot.x(row["ratio"] * (1.03 if ours else 1.0)),
        y=plot.y(value),
        low_y=plot.y(max(value - error, floor)),
        high_y=plot.y(value + error),
        name=row["method"],
        title=f"{row['method']} at {row['ratio']}x: {row['final']:.4f}",
        colour=colour("c0" if ours else "base"),
        strong=ours,
    )
