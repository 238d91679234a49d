"""What the pieces of a file will cost, at every price: made before anything is written, corrected on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thinwire.checkpoint.curves import Array, Curve, measured
from thinwire.checkpoint.goals import lossy
from thinwire.checkpoint.points import quantizer, small_quantizer
from thinwire.checkpoint.sent import Given, Sent
from thinwire.checkpoint.survey import Survey
from thinwire.codec import Codec
from thinwire.kernels.distortion import largest

_PRICES = 256
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


def codec_of(given: Given, step: float) -> Codec:
    """Return the codec of a piece, at a step."""
    return quantizer(step) if lossy(given.piece.entry) else small_quantizer(step)


def nothing_of(given: Given, peak: float) -> Sent:
    """Return a piece of this largest magnitude as nothing but zeros."""
    return given.lossy(codec_of(given, _NOTHING * peak))


def forecast_of(given: Given) -> PieceForecast:
    """Look at one piece."""
    entry = given.piece.entry
    peak = largest(given.target()) if entry.spec.dtype.is_floating_point else 0.0
    if given.piece.spec.numel >= _FEW and 0 < peak < float("inf"):
        nothing, curve = nothing_of(given, peak), measured(given)
        if curve and not nothing.encoded.codec.lossless:
            return PieceForecast(nothing.cost_bytes, curve)
    return PieceForecast(given.lossless().cost_bytes)


class Forecast:
    """All pieces, and the sums of those that are still ahead: a table for each would be more than the pieces."""

    def __init__(self, pieces: Sequence[PieceForecast]) -> None:
        self.pieces = pieces
        curves = [piece.curve for piece in pieces if piece.curve]
        ends = [end for curve in curves for end in (*curve.prices, curve.lossless_price)]
        low, high = (min(ends) - 0.1, max(ends) + 0.1) if ends else (0.0, 1.0)
        self._prices = np.linspace(low, high, _PRICES)
        self._own = np.zeros(_PRICES)
        """Lossy bytes of the piece in hand at each price, and of all behind it."""
        self._ahead = sum((self._rates(piece) for piece in pieces), start=np.zeros(_PRICES))
        self.least = _sums([piece.least_bytes for piece in pieces])
        """Of the pieces from i on, nothing sent of what may be lossy."""
        self.fixed = _sums([0 if piece.curve else piece.least_bytes for piece in pieces])
        """Of what may not be lossy, from i on."""

    def take(self, i: int) -> None:
        """Take piece i in hand: the next one that has a curve."""
        self._own = self._rates(self.pieces[i])
        self._ahead = self._ahead - self._own

    def price(self, room: float, own: float, ahead: float) -> float:
        """Return the price at which the piece in hand and those ahead, each as often as forecast, fill a room."""
        total = own * self._own + ahead * self._ahead
        return float(np.interp(-room, -total, self._prices))

    def rate(self, price: float) -> float:
        """Return the bytes of the piece in hand at a price."""
        return float(np.interp(price, self._prices, self._own))

    def rate_of(self, i: int, price: float) -> float:
        """Return those of any piece."""
        return float(np.interp(price, self._prices, self._rates(self.pieces[i])))

    def rate_ahead(self, price: float) -> float:
        """Return the lossy bytes of the pieces ahead at a price."""
        return float(np.interp(price, self._prices, self._ahead))

    def _rates(self, piece: PieceForecast) -> Array:
        if not piece.curve:
            return np.zeros(_PRICES)
        return np.minimum.accumulate(piece.curve.bytes_at(self._prices) + _COST)


def forecast(survey: Survey) -> Forecast:
    """Look at all pieces, one in memory at a time."""
    pieces = []
    for group in survey.groups():
        for piece in group:
            pieces.append(forecast_of(survey.given(piece)))
            survey.on_bytes("measure", piece.spec.nbytes, survey.nbytes)
    return Forecast(pieces)


def _sums(values: Sequence[int]) -> Array:
    """Return the sums from each on, and a last one of nothing."""
    return np.append(np.cumsum(np.array(values, dtype=np.float64)[::-1])[::-1], 0.0)
