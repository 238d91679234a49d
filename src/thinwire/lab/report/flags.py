"""Names above a crowd of line ends: each on a thin upright pole, in steps, so that no pole crosses a name."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from thinwire.lab.report.dots import SIZE, Dot, circle, width
from thinwire.lab.report.svg import line, tag, text
from thinwire.lab.report.theme import colour

STEP = 16
_GAP = 8


def levels(starts: Sequence[float], widths: Sequence[float]) -> list[int]:
    """Return the step of each name, 0 the lowest: above every name to its right that begins before it ends."""
    found = [0] * len(starts)
    order = sorted(range(len(starts)), key=lambda at: -starts[at])
    for place, at in enumerate(order):
        near = [found[other] for other in order[:place] if starts[other] < starts[at] + widths[at] + _GAP]
        found[at] = 1 + max(near, default=-1)
    return found


def draw(dots: Sequence[Dot], top: float) -> Markup:
    """Return dots with their names above `top`, the lowest step just there."""
    steps = levels([dot.x for dot in dots], [width(dot) for dot in dots])
    return tag("g", *(_flag(dot, top - 6 - STEP * step) for dot, step in zip(dots, steps, strict=True)))


def _flag(dot: Dot, y: float) -> Markup:
    pole = line(dot.x, dot.y, dot.x, y - 9, stroke=dot.colour)
    name = text(dot.x + 5, y, dot.label, fill=colour("ink"), font_size=SIZE, font_weight=650 if dot.strong else 400)
    return tag("g", tag("title", dot.title), pole, circle(dot), name, class_="series")
