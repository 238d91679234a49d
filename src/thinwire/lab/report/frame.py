"""The place that lines and dots are drawn on: two scales, quiet grid lines, titles that need no turning of heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from thinwire.lab.report.labels import Box
from thinwire.lab.report.svg import Scale, Style, line, tag, text, width_of
from thinwire.lab.report.theme import colour

Format = Callable[[float], str]
_ROW = 42
"""Pixels between two grid lines."""


@dataclass(frozen=True)
class Margins:
    """Room around the plot for axis text, in pixels."""

    left: float = 46
    right: float = 14
    top: float = 26
    bottom: float = 38


@dataclass(frozen=True)
class Frame:
    """A plot of a width and height, margins included."""

    width: float
    height: float
    x: Scale
    y: Scale

    @property
    def box(self) -> Box:
        """The plot without its margins."""
        return Box(self.x.start, self.y.end, self.x.end, self.y.start)

    def rows(self, format_: Format, count: int = 0) -> Markup:
        """Return horizontal grid lines with their values: about ``count``, by default as many as are easily read."""
        usual = max(3, min(7, int(abs(self.y.start - self.y.end) / _ROW)))
        lines = [self._row(value, format_(value)) for value in self.y.ticks(count or usual)]
        return tag("g", *lines, stroke=colour("line"))

    def columns(self, format_: Format, count: int = 5) -> Markup:
        """Return the bottom axis with its values."""
        bottom = self.y.start
        marks = [self._column(value, format_(value)) for value in self.x.ticks(count)]
        return tag("g", line(self.x.start, bottom, self.x.end, bottom), *marks, stroke=colour("axis"))

    def titles(self, x: str, y: str) -> Markup:
        """Return what the axes mean: above the upright one, below the lying one."""
        style: Style = {"fill": colour("muted"), "font_size": 11.5}
        below = text(max(self.x.end, width_of(x, 11.5)), self.height - 4, x, anchor="end", **style)
        return tag("g", text(0, 11, y, **style), below)

    def clip(self, *children: Markup) -> Markup:
        """Return children cut off at the edge of the plot."""
        box = self.box
        left, top, wide, high = box.left, box.top - 3, box.right - box.left + 3, box.bottom - box.top + 3
        view = f"{left:g} {top:g} {wide:g} {high:g}"
        return tag("svg", *children, x=left, y=top, width=wide, height=high, viewBox=view, overflow="hidden")

    def _row(self, value: float, words: str) -> Markup:
        y, left = self.y(value), self.x.start
        label = text(left - 7, y + 4, words, anchor="end", fill=colour("muted"), stroke="none")
        return Markup("").join([line(left, y, self.x.end, y), label])

    def _column(self, value: float, words: str) -> Markup:
        x, bottom = self.x(value), self.y.start
        label = text(x, bottom + 17, words, anchor="middle", fill=colour("muted"), stroke="none")
        return Markup("").join([line(x, bottom, x, bottom + 4), label])


Domain = tuple[float, float]


def frame(size: Domain, x: Domain, y: Domain, margins: Margins, log: str = "") -> Frame:
    """Return a frame of a size for two domains; `log` names the axes that are logarithmic."""
    width, height = size
    across = Scale(*x, margins.left, width - margins.right, "x" in log)
    return Frame(width, height, across, Scale(*y, height - margins.bottom, margins.top, "y" in log))


def padded(values: Sequence[float], share: float = 0.06) -> Domain:
    """Return a linear domain with some air around the values."""
    low, high = min(values), max(values)
    air = (high - low) * share or abs(high) * 0.05 or 1.0
    return low - air, high + air


def log_padded(values: Sequence[float], factor: float = 1.25) -> Domain:
    """Return a logarithmic domain with some air around the values."""
    return min(values) / factor, max(values) * factor
