"""How the bytes and the step of a piece go with the price, that all pieces share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from thinwire.checkpoint.goals import lossy
from thinwire.checkpoint.points import encoded_points, entropy_points, sample_of
from thinwire.checkpoint.sent import Given
from thinwire.policy.allocate import hull
from thinwire.policy.plan import Point
from thinwire.registry import parse

_WORTH_IT = 0.97
_SMALL_WEIGHT = 16.0
"""Norms and biases are few and do most of the harm: their errors count so many times."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """How bytes and step of a piece go with the price: distortion that a byte must save. All natural logarithms."""

    prices: Array
    """Falling."""
    steps: Array
    """At these prices, falling."""
    rate_steps: Array
    """Rising."""
    rates: Array
    """Logarithms of the bytes at these steps, falling."""
    lossless_price: float
    """From this price down every bit is worth its byte."""
    lossless_bytes: float

    def step(self, price: float) -> float:
        """Return the step at a price."""
        return math.exp(float(np.interp(-price, -self.prices, self.steps)))

    def bytes_at(self, prices: Array) -> Array:
        """Return the bytes at each price."""
        steps = np.interp(-prices, -self.prices, self.steps)
        lossy = np.exp(np.interp(steps, self.rate_steps, self.rates))
        return np.where(prices <= self.lossless_price, self.lossless_bytes, lossy)


def measured(given: Given) -> Curve | None:
    """Return the curve of a piece; None where no lossy coding pays."""
    large = lossy(given.piece.entry)
    sample = sample_of(given)
    every_bit = sample.lossless().payload_bytes * given.piece.spec.numel / sample.piece.spec.numel
    found = encoded_points(given, sample) if large else entropy_points(given)
    points = [point for point in found if point.payload_bytes < _WORTH_IT * every_bit]
    lossless = Point(parse("Planes()"), every_bit, 0.0)
    kept = [point for point in hull((*points, lossless)) if point is not lossless]
    return _curve(points, kept, every_bit, 1.0 if large else _SMALL_WEIGHT) if len(kept) > 1 else None


def _curve(points: list[Point], kept: list[Point], every_bit: float, weight: float) -> Curve:
    by_step = sorted((_log_step(point), point.payload_bytes) for point in points)
    steps = [_log_step(point) for point in kept]
    pairs = list(pairwise(kept))
    # An edge of the hull is the slope between two steps: it belongs to the one in the middle of them.
    middles = [(_log_step(a) + _log_step(b)) / 2 for a, b in pairs]
    slopes = [_price(a, b, weight) for a, b in pairs]
    # At both ends as at high rates, where the slope goes with the square of the step.
    first, last = slopes[0] + 2 * (steps[0] - middles[0]), slopes[-1] + 2 * (steps[-1] - middles[-1])
    end = _price(kept[-1], Point(kept[-1].codec, every_bit, 0.0), weight)
    return Curve(
        np.array([first, *slopes, last]),
        np.array([steps[0], *middles, steps[-1]]),
        np.array([step for step, _ in by_step]),
        np.minimum.accumulate(np.log(np.array([size for _, size in by_step]))),
        end,
        every_bit,
    )


def _price(a: Point, b: Point, weight: float) -> float:
    return math.log(weight * (a.distortion - b.distortion) / (b.payload_bytes - a.payload_bytes))


def _log_step(point: Point) -> float:
    return math.log(point.codec.step)  # type: ignore[attr-defined]
