"""The prices between which the right one must lie."""

from __future__ import annotations

import math

_FIRST_MOVE = 0.02
_PATIENCE = 4
"""Guesses that came to nothing; halving is sure."""


class Bracket:
    """Too many bytes were spent at the lower end, too few at the upper."""

    def __init__(self) -> None:
        self._low, self._high = -math.inf, math.inf
        self._move = _FIRST_MOVE
        self._notes = 0

    def within(self, price: float) -> float:
        """Return the price, or one in the bracket: with both ends the middle, else on in moves that double.

        Bytes go in steps: prices near one that failed may cost the same.
        """
        if math.isfinite(self._low) and math.isfinite(self._high):
            guessed = self._low < price < self._high and self._notes < _PATIENCE
            return price if guessed else (self._low + self._high) / 2
        return max(min(price, self._high - self._move), self._low + self._move)

    def narrow(self, price: float, overspent: bool) -> None:
        """Take note of what came of a price."""
        self._move *= 2
        self._notes += 1
        if overspent:
            self._low = max(self._low, price)
        else:
            self._high = min(self._high, price)
