"""Shapes on lines and at their ends, so that lines are told apart without their colours."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from thinwire.lab.report.labels import Spot
from thinwire.lab.report.svg import Value, path, tag
from thinwire.lab.report.theme import colour

ALONG = 6
"""How many a line has."""
_SHAPES: dict[str, tuple[Spot, ...]] = {
    "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "triangle": ((0.0, -1.1), (1.05, 0.8), (-1.05, 0.8)),
    "diamond": ((0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)),
}
"""Corners, in radii."""


def shape(kind: str, x: float, y: float, radius: float, hue: str, hollow: bool = False) -> Markup:
    """Return a shape of ``theme.MARKERS`` around a point."""
    style: dict[str, Value] = {"fill": colour("card") if hollow else hue, "stroke": hue, "stroke_width": 1.5}
    if kind == "cross":
        arms = [(x + a * radius, y + b * radius) for a, b in ((-1, -1), (1, 1))]
        others = [(x + a * radius, y + b * radius) for a, b in ((-1, 1), (1, -1))]
        return tag("g", path(arms), path(others), stroke=hue, stroke_width=2.25)
    if kind in _SHAPES:
        corners = [(x + a * radius, y + b * radius) for a, b in _SHAPES[kind]]
        return path([*corners, corners[0]], **style)
    return tag("circle", cx=x, cy=y, r=radius, **style)


def along(kind: str, pixels: Sequence[Spot], hue: str, offset: int) -> Markup:
    """Return a few shapes on a line, at other places than those of the lines before and after it."""
    step = max(1, len(pixels) // ALONG)
    places = pixels[offset * step // 5 % step : -1 : step]
    return tag("g", *(shape(kind, x, y, 3.2, hue) for x, y in places))
