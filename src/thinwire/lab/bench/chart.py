"""The picture of a benchmark of selectors, from its JSON alone: time against energy captured, one panel a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from thinwire.lab.bench.methods import RIVAL
from thinwire.lab.report import theme
from thinwire.lab.report.dots import Dot, draw
from thinwire.lab.report.frame import Domain, Frame, Margins, frame, log_padded
from thinwire.lab.report.svg import Style, canvas, tag, text
from thinwire.lab.report.theme import colour

Row = Mapping[str, Any]

PANEL = (560, 330)
COLUMNS = 2
HEAD = 98
GAP = 26
TITLE = 22
"""Room for the name of a panel, above it."""
MOST_ENERGY = 1.25
"""Methods that send far more than k elements, and so more than the energy of the k largest, sit on this edge."""


def selectors_svg(result: Mapping[str, Any], density: float) -> str:
    """Return one picture of all sources at a density: light background, no style sheet, no script, nothing to load."""
    rows = [row for row in result["rows"] if row["density"] == density and row["energy"] is not None]
    names = list(dict.fromkeys(row["source"] for row in rows))
    spots = {name: (at % COLUMNS, at // COLUMNS) for at, name in enumerate(names)}
    across, down = min(COLUMNS, len(names)), -(-len(names) // COLUMNS)
    size = across * (PANEL[0] + GAP) + GAP, HEAD + down * (TITLE + PANEL[1] + GAP)
    times = log_padded([row["copies"] for row in rows], 1.5)
    panels = [_placed(_panel(result, name, rows, times), spots[name]) for name in names]
    return _picture(size, _heading(density), _head(result, density), *panels)


def _picture(size: tuple[int, int], label: str, *children: Markup) -> str:
    card = tag("rect", x=0.5, y=0.5, width=size[0] - 1, height=size[1] - 1, rx=10)
    back = tag("g", card, fill=colour("card"), stroke=colour("line"))
    look: Style = {"width": size[0], "height": size[1], "font_family": theme.FONT}
    picture = canvas(size, label, back, *children, xmlns="http://www.w3.org/2000/svg", **look)
    return theme.literal(str(picture)) + "\n"


def _heading(density: float) -> str:
    return f"Selecting {100 * density:g} % of a gradient: time against energy captured"


def _head(result: Mapping[str, Any], density: float) -> Markup:
    threads, place = result["settings"]["threads"], result["environment"]["machine"]
    how = f"time of one step in copies of the tensor, {threads} thread{'s' if threads > 1 else ''} of {place}"
    return tag(
        "g",
        text(GAP, 34, _heading(density), font_size=18, font_weight=650, fill=colour("ink")),
        text(GAP, 54, how, font_size=12.5, fill=colour("muted")),
        _key(GAP, "base", RIVAL, hollow=True),
        _key(GAP + 100, "c0", "with error feedback"),
        _key(GAP + 255, "c1", "without"),
    )


def _key(x: float, kind: str, words: str, hollow: bool = False) -> Markup:
    fill = colour("card" if hollow else kind)
    mark = tag("circle", cx=x + 6, cy=71, r=5, fill=fill, stroke=colour(kind), stroke_width=2)
    return tag("g", mark, text(x + 17, 75, words, font_size=12.5, fill=colour("muted")))


def _placed(panel: Markup, spot: tuple[int, int]) -> Markup:
    x, y = GAP + spot[0] * (PANEL[0] + GAP), HEAD + TITLE + spot[1] * (TITLE + PANEL[1] + GAP)
    return tag("g", panel, transform=f"translate({x:g} {y:g})")


def _panel(result: Mapping[str, Any], name: str, rows: Sequence[Row], times: Domain) -> Markup:
    mine = [row for row in rows if row["source"] == name]
    plot = frame(PANEL, times, (0.0, _top(rows)), Margins(top=30), log="x")
    facts = next(item for item in result["sources"] if item["name"] == name)
    title = text(0, -8, name, font_size=14, font_weight=650, fill=colour("ink"))
    about = text(PANEL[0] - 14, -8, _about(facts), anchor="end", font_size=11.5, fill=colour("muted"))
    axes = [plot.rows(lambda value: f"{100 * value:.0f}%"), plot.columns(lambda value: f"{value:g}", plot.x.room)]
    titles = plot.titles("copies (log scale)", "energy captured, of the k largest")
    dots = draw([_dot(plot, row) for row in mine], plot.box, [])
    return tag("g", title, about, *axes, titles, dots)


def _about(facts: Row) -> str:
    size = f"{facts['elements'] / 1e6:.3g} million elements"
    return f"{size}, {facts['data']}, step {facts['step']}" if facts["kind"] == "recorded" else size


def _top(rows: Sequence[Row]) -> float:
    highest: float = max(1.0, *(row["energy"] for row in rows))
    return min(MOST_ENERGY, highest) * 1.06


def _dot(plot: Frame, row: Row) -> Dot:
    y = plot.y(min(row["energy"], MOST_ENERGY))
    over = row["energy"] > MOST_ENERGY
    return Dot(
        x=plot.x(row["copies"]),
        y=y,
        low_y=y,
        high_y=y,
        name=f"{row['method']} {100 * row['energy']:.0f}%" if over else row["method"],
        title=f"{row['method']}: {row['copies']:.3g} copies, {100 * row['energy']:.4g} % of the energy, "
        f"{row['k_ratio']:.3g} k sent",
        colour=colour("base" if row["method"] == RIVAL else "c0" if row["feedback"] else "c1"),
        hollow=row["method"] == RIVAL,
    )
