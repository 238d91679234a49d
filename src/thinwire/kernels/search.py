"""The largest argument that keeps a rising function within a bound, in few evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Tried = Sequence[tuple[float, float]]
"""Arguments and what the function was there, the newest last."""

_TRIALS = 24
_MOST = 4.0
"""By how much one trial may change the argument."""
_NARROW = 1 / 64
_STEEPEST = 4.0
"""No power of x is taken to rise faster."""
_FURTHEST = math.pow(_MOST, _STEEPEST)


def largest_within(
    f: Callable[[float], float], start: float, bound: float, slack: float, least: float, most: float = math.inf
) -> float | None:
    """Return x with ``bound * (1 - slack) <= f(x) <= bound``, or one near it that stays within; None where none does.

    ``f`` rises about as a power of x; ``start`` is a guess, and x stays from ``least`` to ``most``. All positive.
    """
    x = min(max(start, least), most)
    tried: list[tuple[float, float]] = []
    for _ in range(_TRIALS):
        tried.append((x, f(x)))
        over = tried[-1][1] > bound
        if (over and x == least) or (not over and x == most):
            break
        wanted = following(tried, bound, slack)
        if wanted is None:
            break
        x = min(max(wanted, least), most)
    return max((x for x, found in tried if found <= bound), default=None)


def following(tried: Tried, bound: float, slack: float) -> float | None:
    """Return which argument to try next; None where one that was tried is good enough, or nothing is between."""
    low, reached = max(((x, found) for x, found in tried if found <= bound), default=(0.0, 0.0))
    high = min((x for x, found in tried if found > bound), default=math.inf)
    if low and (reached >= bound * (1 - slack) or high <= low * (1 + slack * _NARROW)):
        return None
    x, found = tried[-1]
    # Cut before the root: a function that vanishes asks for more than a float can hold.
    ratio = min(max(bound * (1 - slack / 3) / found, 1 / _FURTHEST), _FURTHEST) if found > 0 else _FURTHEST
    x *= min(max(math.pow(ratio, 1 / _power(tried)), 1 / _MOST), _MOST)
    if low < x < high:
        return x
    return math.sqrt(low * high) if low and high < math.inf else (high / 2 if not low else low * 2)


def _power(tried: Tried) -> float:
    """Return by which power the function rises, from the last two arguments."""
    (x0, f0), (x1, f1) = tried[-2:] if len(tried) > 1 else ((0.0, 0.0), (0.0, 0.0))
    if not (0 < f0 < math.inf and 0 < f1 < math.inf) or x0 == x1:
        return 2.0
    return min(max(math.log(f1 / f0) / math.log(x1 / x0), 0.2), _STEEPEST)
