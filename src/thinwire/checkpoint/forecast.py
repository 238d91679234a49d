"""What the pieces of a file will cost, at every price: made before anything is written, corrected on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thinwire.checkpoint.curves import Array, Curve, measured, quantizer
from thinwire.checkpoint.goals import lossy
from thinwire.checkpoint.sent import Given
from thinwire.checkpoint.survey import Survey
from thinwire.kernels.distortion import largest

_PRICES = 256
_SMALL_WEIGHT = 16.0
"""Norms and biases are few and do most of the harm: their errors count so many times."""
_FEW = 64
_NOTHING = 4.0
_COST = 8.0
"""About what a piece costs beside its payload."""


@dataclass(frozen=True)
class PieceForecast:
    """One piece: what it costs whatever is chosen, or the curve along which it may be chosen."""

    least_bytes: int
    """In the file: of every bit where there is no curve, of nothing sent where there is one."""
    curve: Curve | None = None


def forecast_of(given: Given) -> PieceForecast:
    """Look at one piece."""
    entry = given.piece.entry
    peak = largest(given.target()) if entry.spec.dtype.is_floating_point else 0.0
    if given.piece.spec.numel >= _FEW and 0 < peak < float("inf"):
        nothing = given.lossy(quantizer(_NOTHING * peak))
        curve = measured(given, 1.0 if lossy(entry) else _SMALL_WEIGHT)
        if curve and not nothing.encoded.codec.lossless:
            return PieceForecast(nothing.cost_bytes, curve)
    return PieceForecast(given.lossless().cost_bytes)


class Forecast:
    """All pieces, and the sums from each on to the end."""

    def __init__(self, pieces: Sequence[PieceForecast]) -> None:
        self.pieces = pieces
        curves = [piece.curve for piece in pieces if piece.curve]
        ends = [end for curve in curves for end in (*curve.prices, curve.lossless_price)]
        low, high = (min(ends) - 0.1, max(ends) + 0.1) if ends else (0.0, 1.0)
        self.prices = np.linspace(low, high, _PRICES)
        rates = [piece.curve.bytes_at(self.prices) + _COST if piece.curve else np.zeros(_PRICES) for piece in pieces]
        self.rates = np.minimum.accumulate(np.array(rates).reshape(-1, _PRICES), axis=1)
        self.rest = _sums(self.rates)
        """Lossy bytes of the pieces from i on, at each price."""
        self.least = _sums(np.array([piece.least_bytes for piece in pieces], dtype=np.float64))
        """Of the pieces from i on, nothing sent of what may be lossy."""
        self.fixed = _sums(np.array([0 if piece.curve else piece.least_bytes for piece in pieces], dtype=np.float64))
        """Of what may not be lossy, from i on."""

    def price(self, i: int, room: float, own: float, others: float) -> float:
        """Return the price at which piece i and the rest, both as often as they are forecast, fill a room."""
        total = own * self.rates[i] + others * self.rest[i + 1]
        return float(np.interp(-room, -total, self.prices))

    def rate(self, i: int, price: float) -> float:
        """Return the bytes of a piece at a price."""
        return float(np.interp(price, self.prices, self.rates[i]))

    def rest_rate(self, i: int, price: float) -> float:
        """Return the lossy bytes from piece i on at a price."""
        return float(np.interp(price, self.prices, self.rest[i]))


def forecast(survey: Survey) -> Forecast:
    """Look at all pieces, one in memory at a time."""
    pieces = []
    for group in survey.groups():
        for piece in group:
            pieces.append(forecast_of(survey.given(piece)))
            survey.on_bytes("measure", piece.spec.nbytes, survey.nbytes)
    return Forecast(pieces)


def _sums(values: Array) -> Array:
    """Return the sums from each row on, and a last one of nothing."""
    after = np.cumsum(values[::-1], axis=0)[::-1]
    return np.concatenate([after, np.zeros((1, *values.shape[1:]))])
