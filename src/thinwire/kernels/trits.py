"""Digits -1, 0 and 1, five in one symbol: balanced ternary, the lowest digit first, symbols from -121 to 121."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

DIGITS = 5
MOST = (3**DIGITS - 1) // 2


def groups(count: int) -> int:
    """Return how many symbols hold ``count`` digits."""
    return -(-count // DIGITS)


def draw(x: NDArray[np.floating], levels: NDArray[np.floating]) -> NDArray[np.int8]:
    """Return the sign (-1, 0 or 1) of every element whose magnitude is above its level (0 or more), else 0."""
    kept: NDArray[np.int8] = (levels < np.abs(x)).view(np.int8)
    signs: NDArray[np.int8] = 1 - 2 * np.signbit(x).view(np.int8)
    return kept * signs


def pack(digits: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return the int32 symbols of 1-D digits; zeros fill the last one."""
    padded = np.pad(digits, (0, -digits.size % DIGITS))
    total = padded[::DIGITS].copy()
    for place in range(1, DIGITS):
        total += padded[place::DIGITS] * np.int8(3**place)
    return total.astype(np.int32)


def unpack(symbols: NDArray[np.int32], kind: np.dtype[np.floating]) -> NDArray[np.floating]:
    """Return the digits as floats, five for each symbol, which must lie within -121 and 121."""
    return np.take(_spelled(kind), symbols + np.int32(MOST), axis=0).reshape(-1)


@cache
def _spelled(kind: np.dtype[np.floating]) -> NDArray[np.floating]:
    """Return (243, 5): the digits of every symbol from -121 up."""
    codes = np.arange(2 * MOST + 1)[:, None]
    return (codes // 3 ** np.arange(DIGITS) % 3 - 1).astype(kind)
