"""How many bytes a link carries in time, from earlier rounds: pure functions of what was measured.

One sample is one round: what would just have been in time then. The samples of a link spread as its rounds will, so the
lowest of them are what safety costs on this link: little on a steady one, much on one with outages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from thinwire.policy.plan import Turn

WINDOW = 64
"""Rounds that count; older ones do not."""
HALF_LIFE = 32
"""A round counts half as much as one that is that many rounds younger."""
YOUNG = 3.0
"""After n rounds what they say is taken for n / (n + YOUNG) of it: few samples have not seen the worst yet."""
OUTLIER = 4.0
"""A round that allowed that many times less than any other is forgotten: first ones compile and load."""
_LEAST_SHARE = 1 / 16
"""Of a measured time, what the bytes themselves took at least, however large the latency is said to be."""


def bytes_per_s(turn: Turn, latency_s: float = 0.0) -> float:
    """Return the speed at which a round's bytes left, latency aside; 0 where none or nothing was measured."""
    if turn.sent_bytes <= 0 or turn.send_s <= 0:
        return 0.0
    return turn.sent_bytes / max(turn.send_s - latency_s, _LEAST_SHARE * turn.send_s)


def in_time_bytes(turn: Turn, seconds: float, latency_s: float = 0.0, codec_s: float = 0.0) -> float:
    """Return how many bytes would have been in time in that round, with ``codec_s`` for coding them."""
    left_s = seconds - turn.receive_s - turn.compute_s - codec_s - latency_s
    return max(0.0, left_s) * bytes_per_s(turn, latency_s)


def prudent(samples: Sequence[float], worth: float, most_late: float) -> float:
    """Return the amount that is best risked, given what earlier rounds (the newest last) would have allowed.

    Of the samples it takes the one where more would cost more rounds than it brings bytes: it minimizes (share of
    rounds that allowed less) - ``worth`` * log2(sample), among those that at most ``most_late`` fell short of. Times k
    the samples, times k the result. One outlier is forgotten, as one of few rounds is many; two are not. 0 without any.
    """
    newest = samples[-WINDOW:]
    if not newest:
        return 0.0
    weights = [0.5 ** (age / HALF_LIFE) for age in reversed(range(len(newest)))]
    ranked = sorted(zip(newest, weights, strict=True))
    if len(ranked) > 1 and ranked[0][0] * OUTLIER < ranked[1][0]:
        ranked = ranked[1:]
        weights = [weight for _, weight in ranked]
    short = [before / sum(weights) for before in accumulate((weight for _, weight in ranked[:-1]), initial=0.0)]
    best = min(
        (late - worth * _log2(amount), amount)
        for (amount, _), late in zip(ranked, short, strict=True)
        if late <= most_late
    )
    return best[1] * len(newest) / (len(newest) + YOUNG)


def high(samples: Sequence[float]) -> float:
    """Return a value that few of the newest samples exceed: the second largest of eight, or of all that there are.

    So one slow round is forgotten, whenever it was, and two are believed. 0 where there are fewer than two samples: the
    first one may be a compiler's time.
    """
    newest = sorted(samples[-8:])
    return newest[-2] if len(newest) > 1 else 0.0


def _log2(amount: float) -> float:
    return math.log2(max(amount, 1e-3))
