"""The kinds of number that options take, one type each: what is out of range is refused before anything is done."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import TypeVar

N = TypeVar("N", int, float)

_MOST = 2**53
"""Beyond it, no count is meant."""
_INTEGER = re.compile(r"[+-]?[0-9]+")


def _kind(read: Callable[[str], N], fits: Callable[[N], bool], expected: str) -> Callable[[str], N]:
    """Return a type for ``add_argument``: what ``read`` makes of a text, if it ``fits``."""

    def made(text: str) -> N:
        try:
            value = read(text)
            if fits(value):
                return value
        except (ValueError, OverflowError):
            pass
        raise argparse.ArgumentTypeError(f"{text!r} given, expected {expected}")

    return made


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError(text)
    return int(text)


COUNT = _kind(_integer, lambda n: 1 <= n <= _MOST, "a whole number from 1")
"""How many of something that must be there."""
FROM_ZERO = _kind(_integer, lambda n: 0 <= n <= _MOST, "a whole number from 0")
"""How many of something that may be left out."""
NODE = _kind(_integer, lambda n: 0 <= n < 2**64, "a node's number, a whole number below 2**64")
SEED = _kind(_integer, lambda n: 0 <= n < 2**32, "a whole number from 0 to 2**32 - 1")
POSITIVE = _kind(float, lambda x: 0 < x < math.inf, "a number above 0")
"""A rate, a norm, an error."""
NOT_NEGATIVE = _kind(float, lambda x: 0 <= x < math.inf, "a number from 0")
SHARE = _kind(float, lambda x: 0 < x <= 1, "a number above 0 and up to 1")
"""A part of a whole that is not nothing."""
BELOW_ONE = _kind(float, lambda x: 0 <= x < 1, "a number from 0 to below 1")
"""A momentum."""
RATIO = _kind(float, lambda x: 1 <= x < math.inf, "a number from 1")
"""Times smaller."""
