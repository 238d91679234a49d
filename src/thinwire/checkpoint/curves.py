"""Rate and distortion of a piece, mostly measured on some of its rows, at steps from far above its RMS to far below."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thinwire.checkpoint.families import low_rank
from thinwire.checkpoint.measure import energy64, squared_error
from thinwire.checkpoint.pieces import Piece
from thinwire.checkpoint.sent import Given
from thinwire.codec import Codec, decode
from thinwire.policy.allocate import hull
from thinwire.policy.plan import Point
from thinwire.registry import parse

_COARSE = (2.5, 2.0, 1.7, 1.4, 1.1, 0.8, 0.4, 0.0, -0.6, -1.3)
_FINE = (-2.2, -3.2, -4.2, -5.5, -7.0, -9.0, -12.0, -16.0, -18.0, -20.0)
_SAMPLE = 1 << 16
_WORTH_IT = 0.97
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


def quantizer(step: float) -> Codec:
    """Return the codec whose step a budget varies."""
    return parse(f"Rdoq(step={step!r})")  # type: ignore[no-any-return]


def measured(given: Given, weight: float) -> Curve | None:
    """Return the curve of a piece whose error counts ``weight`` times; None where no lossy coding pays."""
    sample = _sample(given)
    scale = given.piece.spec.numel / sample.piece.spec.numel
    every_bit = sample.lossless().payload_bytes * scale
    points = [point for point in _points(given, sample, scale) if point.payload_bytes < _WORTH_IT * every_bit]
    lossless = Point(parse("Planes()"), every_bit, 0.0)
    kept = [point for point in hull((*points, lossless)) if point is not lossless]
    return _curve(points, kept, every_bit, weight) if len(kept) > 1 else None


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


def _points(given: Given, sample: Given, scale: float) -> Iterator[Point]:
    """Yield points of the whole piece: quantized as its sample is, or of low rank, which no sample of rows can tell."""
    target = sample.target()
    energy = energy64(target)
    rms = math.sqrt(energy / max(target.numel(), 1))
    for octave in (*_COARSE, *_FINE) if rms else ():
        codec = quantizer(rms * 2.0**octave)
        sent = sample.lossy(codec)
        if sent.encoded.codec.lossless:
            return
        error = squared_error(target, decode(sent.encoded))
        other = low_rank(given, error / energy, sent.payload_bytes * scale)
        yield Point(codec, other.payload_bytes if other else sent.payload_bytes * scale, error * scale)


def _price(a: Point, b: Point, weight: float) -> float:
    return math.log(weight * (a.distortion - b.distortion) / (b.payload_bytes - a.payload_bytes))


def _log_step(point: Point) -> float:
    return math.log(point.codec.step)  # type: ignore[attr-defined]


def _sample(given: Given) -> Given:
    """Return some rows, or where there are few rows some columns, as a piece of its own."""
    shape, count = given.piece.shape, given.piece.spec.numel
    rows = shape[0] if shape else 1
    every = max(1, count // _SAMPLE)

    def picked(x: Tensor) -> Tensor:
        return x[::every] if rows >= 8 * every or len(shape) < 2 else x.reshape(rows, -1)[:, ::every]

    if every == 1:
        return given
    x = picked(given.x).contiguous()
    base = None if given.base is None else picked(given.base).contiguous()
    return replace(given, piece=Piece(given.piece.entry, 0, tuple(x.shape)), x=x, base=base)
