"""The picture of one update, from the JSON alone: bits an element against the error, a line or a dot per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from thinwire.lab.report import theme
from thinwire.lab.report.dots import Dot, draw
from thinwire.lab.report.frame import Frame, Margins, frame, log_padded
from thinwire.lab.report.svg import canvas, path, tag, text
from thinwire.lab.report.theme import colour

Row = Mapping[str, Any]

SIZE = (860, 560)
PLOT = (820, 470)
LEFT, TOP = 24, 76
COLOURS = {"ours": "c0", "rival": "c1", "bound": "base"}
WORDS = {"ours": "ours, real frames", "rival": "rivals", "bound": "order-0 entropy, a bound"}
FAMILIES = ("sz3", "pcodec")
LEAST_NMSE = 2e-5
"""Nearer to lossless nobody sends updates; the pictures end here."""


@dataclass(frozen=True)
class Line:
    """A method's points by descending error: (bits, nmse)."""

    name: str
    kind: str
    points: tuple[tuple[float, float], ...]


def rates_svg(result: Mapping[str, Any], case: Row) -> str:
    """Return the picture of a case: light background, no style sheet, no script, nothing to load."""
    lines = _lines([row for row in result["rows"] if row["case"] == case["name"] and row["nmse"] >= LEAST_NMSE])
    points = [point for line in lines for point in line.points]
    bits, errors = zip(*points, strict=True) if points else ((1.0,), (1.0,))
    plot = frame(PLOT, log_padded(bits, 1.6), log_padded(errors, 1.35), Margins(left=58), log="xy")
    body = tag("g", *_axes(plot), *(_path(plot, line) for line in lines), _names(plot, lines))
    heading = f"{case['name']}: bits an element at an error"
    card = tag("g", tag("rect", x=0.5, y=0.5, width=SIZE[0] - 1, height=SIZE[1] - 1, rx=10), **_CARD)
    placed = tag("g", body, transform=f"translate({LEFT} {TOP})")
    picture = canvas(SIZE, heading, card, _head(heading, case), placed, **_LOOK)
    return theme.literal(str(picture)) + "\n"


_CARD: dict[str, str | float | int] = {"fill": colour("card"), "stroke": colour("line")}
_LOOK: dict[str, str | float | int] = {
    "xmlns": "http://www.w3.org/2000/svg",
    "width": SIZE[0],
    "height": SIZE[1],
    "font_family": theme.FONT,
}


def _lines(rows: Sequence[Row]) -> list[Line]:
    """Return a line per family: of methods that share a first word, the least at each error; dots stay alone."""
    families = dict.fromkeys((_family(row), row["kind"]) for row in rows)
    return [Line(name, kind, _points([row for row in rows if _family(row) == name])) for name, kind in families]


def _family(row: Row) -> str:
    name: str = row["method"]
    return next((family for family in FAMILIES if name.startswith(f"{family} ")), name)


def _points(rows: Sequence[Row]) -> tuple[tuple[float, float], ...]:
    fixed = [(row["bits"], row["nmse"]) for row in rows if row["asked"] is None]
    asked = sorted({row["asked"] for row in rows if row["asked"] is not None}, reverse=True)
    best = [min((row for row in rows if row["asked"] == nmse), key=lambda row: float(row["bits"])) for nmse in asked]
    return tuple(sorted(fixed, reverse=False)) + tuple((row["bits"], row["nmse"]) for row in best)


def _head(heading: str, case: Row) -> Markup:
    about = f"{case['elements']:,} elements"
    from_ = f"{case['data']}, round {case['round']}; " if case["kind"] == "recorded" else ""
    keys = [_key(LEFT + 190 * at, kind) for at, kind in enumerate(COLOURS)]
    return tag(
        "g",
        text(LEFT, 34, heading, font_size=18, font_weight=650, fill=colour("ink")),
        text(SIZE[0] - LEFT, 34, from_ + about, anchor="end", font_size=11.5, fill=colour("muted")),
        *keys,
    )


def _key(x: float, kind: str) -> Markup:
    mark = tag("circle", cx=x + 6, cy=54, r=5, fill=colour(COLOURS[kind]))
    return tag("g", mark, text(x + 17, 58, WORDS[kind], font_size=12.5, fill=colour("muted")))


def _axes(plot: Frame) -> list[Markup]:
    rows = plot.rows(lambda value: f"{value:g}", 6)
    return [
        rows,
        plot.columns(lambda value: f"{value:g}", plot.x.room),
        plot.titles("bits an element (log)", "NMSE (log)"),
    ]


def _path(plot: Frame, line: Line) -> Markup:
    dashes = {"stroke_dasharray": "5 4"} if line.kind == "bound" else {}
    places = [(plot.x(bits), plot.y(nmse)) for bits, nmse in line.points]
    return path(places, stroke=colour(COLOURS[line.kind]), stroke_width=2 if line.kind == "ours" else 1.3, **dashes)


def _names(plot: Frame, lines: Sequence[Line]) -> Markup:
    """Put a dot on every point, and a name at one of a line: of ours at the smallest error, of others in the middle."""
    places = {"ours": -1, "bound": 0}
    named = [_dot(plot, line, line.points[places.get(line.kind, len(line.points) // 2)]) for line in lines]
    others = [
        tag("circle", cx=plot.x(bits), cy=plot.y(nmse), r=3, fill=colour(COLOURS[line.kind]))
        for line in lines
        for bits, nmse in line.points
    ]
    return tag("g", *others, draw(named, plot.box, []))


def _dot(plot: Frame, line: Line, point: tuple[float, float]) -> Dot:
    x, y = plot.x(point[0]), plot.y(point[1])
    title = f"{line.name}: {point[0]:.3g} bits at NMSE {point[1]:.3g}"
    return Dot(x, y, y, y, line.name, title, colour(COLOURS[line.kind]), hollow=line.kind != "ours")
