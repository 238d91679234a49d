"""Named dots with error bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from thinwire.lab.report.labels import Box, place
from thinwire.lab.report.marks import shape
from thinwire.lab.report.svg import Style, line, shorten, tag, text, width_of
from thinwire.lab.report.theme import colour

_LINE = 15
SIZE = 12.5
_NEAR = 14
"""A name further away than this is tied to its dot by a line."""


@dataclass(frozen=True)
class Dot:
    """One dot, in pixels; its bar goes from `low_y` to `high_y`, the title is shown when pointed at."""

    x: float
    y: float
    low_y: float
    high_y: float
    name: str
    title: str
    colour: str
    strong: bool = False
    hollow: bool = False
    marker: str = "circle"

    @property
    def label(self) -> str:
        """The name as it is written beside the dot."""
        return shorten(self.name, 44)


def draw(dots: Sequence[Dot], area: Box, taken: Sequence[Box]) -> Markup:
    """Return all dots and their names, placed such that none covers another."""
    bars = [Box(dot.x - 2, dot.high_y, dot.x + 2, dot.low_y) for dot in dots]
    sizes = [(width(dot) + 4, _LINE) for dot in dots]
    boxes = place([(dot.x, dot.y) for dot in dots], sizes, area, [*taken, *bars])
    return tag("g", *(_draw(dot, box) for dot, box in zip(dots, boxes, strict=True)), class_="series-set")


def _draw(dot: Dot, box: Box) -> Markup:
    bar = line(dot.x, dot.low_y, dot.x, dot.high_y, stroke=dot.colour, stroke_width=1.5, stroke_opacity=0.6)
    return tag("g", tag("title", dot.title), bar, _leader(dot, box), circle(dot), _label(dot, box), class_="series")


def width(dot: Dot) -> float:
    """Estimate the width of a dot's name."""
    return width_of(dot.label, SIZE) * (1.15 if dot.strong else 1)


def circle(dot: Dot) -> Markup:
    """Return the dot itself."""
    return shape(dot.marker, dot.x, dot.y, 7 if dot.strong else 5, dot.colour, dot.hollow)


def _leader(dot: Dot, box: Box) -> Markup:
    x, y = box.nearest(dot.x, dot.y)
    return line(dot.x, dot.y, x, y, stroke=dot.colour) if math.dist((x, y), (dot.x, dot.y)) > _NEAR else Markup("")


def _label(dot: Dot, box: Box) -> Markup:
    anchor, x = _anchor(dot, box)
    style: Style = {"font_size": SIZE, "fill": colour("ink"), "font_weight": 650 if dot.strong else 400}
    halo: Style = {"stroke": colour("card"), "stroke_width": 3, "paint_order": "stroke", "stroke_linejoin": "round"}
    return text(x, box.bottom - 4, dot.label, anchor=anchor, **style, **halo)


def _anchor(dot: Dot, box: Box) -> tuple[str, float]:
    if box.left > dot.x:
        return "start", box.left
    return ("end", box.right) if box.right < dot.x else ("middle", (box.left + box.right) / 2)
