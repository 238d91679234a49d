"""Putting names next to what they name, without one covering another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Spot = tuple[float, float]
_DISTANCES = (11, 20, 32, 46, 64, 90)
_PASSES = 2


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Return the area that two rectangles share."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(wide, 0) * max(high, 0)

    @property
    def area(self) -> float:
        """Its area."""
        return (self.right - self.left) * (self.bottom - self.top)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the rectangle that is closest to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


def around(x: float, y: float, half: float) -> Box:
    """Return a square with its centre at (x, y)."""
    return Box(x - half, y - half, x + half, y + half)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions on a line apart to at least `gap`, in order, inside [low, high] where that is possible."""
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    placed = dict[int, float]()
    floor = low
    for at in order:
        floor = placed[at] = max(wanted[at], floor)
        floor += gap
    ceiling = high
    for at in reversed(order):
        placed[at] = min(placed[at], ceiling)
        ceiling = placed[at] - gap
    return [placed[at] for at in range(len(wanted))]


@dataclass(frozen=True)
class Option:
    """A place for a name, and points on the line that ties it to its dot."""

    box: Box
    leader: tuple[Spot, ...]
    distance: float

    def crosses(self, box: Box) -> float:
        """Return how much of a rectangle the line runs through."""
        return sum(around(x, y, 1).overlap(box) for x, y in self.leader)


def place(dots: Sequence[Spot], sizes: Sequence[Spot], area: Box, taken: Sequence[Box]) -> list[Box]:
    """Find a box of the given (width, height) for each dot: close by, inside the area, over nothing else."""
    options = [_options(*dot, *size) for dot, size in zip(dots, sizes, strict=True)]
    marks = [around(x, y, 7) for x, y in dots]
    harms = [[_harm(option, at, marks, area, taken) for option in found] for at, found in enumerate(options)]
    chosen = [found[_least(harm)] for found, harm in zip(options, harms, strict=True)]
    for at in list(range(len(dots))) * _PASSES:
        others = [option for other, option in enumerate(chosen) if other != at]
        clashes = [sum(_clash(option, other) for other in others) for option in options[at]]
        chosen[at] = options[at][_least([own + clash for own, clash in zip(harms[at], clashes, strict=True)])]
    return [option.box for option in chosen]


def _least(values: Sequence[float]) -> int:
    return min(range(len(values)), key=values.__getitem__)


def _options(x: float, y: float, wide: float, high: float) -> list[Option]:
    turns = [math.tau * turn / 12 for turn in range(12)]
    return [_option(x, y, wide, high, distance, turn) for distance in _DISTANCES for turn in turns]


def _option(x: float, y: float, wide: float, high: float, distance: float, turn: float) -> Option:
    middle_x, middle_y = x + math.cos(turn) * (distance + wide / 2), y + math.sin(turn) * (distance + high / 2)
    box = Box(middle_x - wide / 2, middle_y - high / 2, middle_x + wide / 2, middle_y + high / 2)
    end_x, end_y = box.nearest(x, y)
    return Option(
        box,
        tuple((x + (end_x - x) * step / 4, y + (end_y - y) * step / 4) for step in range(1, 4)),
        math.dist((x, y), (end_x, end_y)),
    )


def _harm(option: Option, at: int, marks: Sequence[Box], area: Box, taken: Sequence[Box]) -> float:
    outside = option.box.area - option.box.overlap(area)
    covered = sum(option.box.overlap(other) for other in (*taken, *marks))
    crossed = sum(option.crosses(mark) for other, mark in enumerate(marks) if other != at)
    return option.distance + 20 * outside + 4 * covered + 20 * crossed


def _clash(one: Option, other: Option) -> float:
    return 8 * one.box.overlap(other.box) + 20 * (one.crosses(other.box) + other.crosses(one.box))
