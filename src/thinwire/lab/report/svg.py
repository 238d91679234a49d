"""The few pieces of SVG that the charts are made of. Text is always escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Child = str | Markup
Value = str | float | int
Style = dict[str, Value]
_FEWEST = 3
"""Ticks that a logarithmic axis needs to be read."""


def tag(name: str, *children: Child, **attributes: Value) -> Markup:
    """Return an element; a child that is not markup is escaped, `_` in a name is `-`, a number has two decimals."""
    written = "".join(f' {_name(key)}="{escape(_value(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{written}>{''.join(escape(child) for child in children)}</{name}>")


def text(x: float, y: float, words: str, **attributes: Value) -> Markup:
    """Return a line of text; `anchor` is start, middle or end."""
    if "anchor" in attributes:
        attributes["text_anchor"] = attributes.pop("anchor")
    return tag("text", words, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: Value) -> Markup:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def path(points: Sequence[tuple[float, float]], **attributes: Value) -> Markup:
    """Return a line through points."""
    steps = " ".join(f"{'L' if at else 'M'}{x:.2f} {y:.2f}" for at, (x, y) in enumerate(points))
    return tag("path", d=steps, fill=attributes.pop("fill", "none"), **attributes)


def canvas(size: tuple[float, float], label: str, *children: Child, **attributes: Value) -> Markup:
    """Return a picture that scales with its place on the page; the label is for those who hear it."""
    box = f"0 0 {size[0]:g} {size[1]:g}"
    return tag("svg", *children, viewBox=box, role="img", aria_label=label, font_size=12, **attributes)


def width_of(words: str, size: float = 12) -> float:
    """Estimate the width of a text; fonts differ, so it errs on the wide side."""
    return sum(0.37 if letter in "iljtf.,:'|! " else 0.86 if letter in "mwMW%+×" else 0.59 for letter in words) * size


@dataclass(frozen=True)
class Scale:
    """From values to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / ((high - low) or 1) * (self.end - self.start)

    @property
    def room(self) -> int:
        """How many ticks have room for their text, seven at most."""
        return min(7, max(2, int(abs(self.end - self.start) / 90)))

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values inside the scale, about as many as asked for."""
        return _log_ticks(self.low, self.high, count) if self.log else _ticks(self.low, self.high, count)


def _ticks(low: float, high: float, count: int) -> list[float]:
    rough = max((high - low) / max(count, 1), 1e-12)
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [at * step for at in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    """Return the most round values that have room; where few of those are inside, such at equal distances."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = [(1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)]
    found = [[f * 10.0**d for d in decades for f in fs if low * 0.999 <= f * 10.0**d <= high * 1.001] for fs in choices]
    every = [found[-1][::step] for step in range(2, max(3, len(found[-1])))]
    fitting = next((ticks for ticks in [*found, *every] if len(ticks) <= count + 1), found[-1])
    if len(fitting) >= _FEWEST:
        return fitting
    finer = ([tick for tick in _ticks(low, high, more) if tick > 0] for more in range(2, count + 4))
    return next((ticks for ticks in finer if len(ticks) >= _FEWEST), fitting)


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: Value) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def shorten(words: str, letters: int = 24) -> str:
    """Cut a long name so that it fits beside a chart."""
    return words if len(words) <= letters else f"{words[: letters - 1]}…"
