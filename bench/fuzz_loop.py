"""What fuzzers of whole inputs share: draw, judge, look for time, count, and say how far it is."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from thinwire.testing.fuzz import ACCEPTED, BUG
from thinwire.testing.slow import SlowSearch

T = TypeVar("T")


def judged(
    kind: str,
    count: int,
    draw: Callable[[], T],
    judge: Callable[[T], str],
    read: Callable[[T], object],
    size: Callable[[T], int],
    allowed: tuple[float, float],
    shown: Callable[[T], object],
    offer_every: int = 1,
) -> dict[str, object]:
    """Judge ``count`` inputs and return what came of them, with the slowest of every ``offer_every``-th.

    ``judge`` returns ``accepted`` or the reason of a refusal; whatever it raises is a bug. ``allowed``: seconds for any
    input, and for each of its bytes; ``read`` is what is timed.
    """
    counts, bugs, began = Counter[str](), list[str](), time.perf_counter()
    search = SlowSearch(read, lambda given: allowed[0] + allowed[1] * size(given))
    for done in range(1, count + 1):
        given = draw()
        if done % offer_every == 0:
            search.offer(given)
        before = shown(given)
        try:
            counts[judge(given)] += 1
        except Exception as error:
            bugs.append(f"{BUG}{type(error).__name__}: {error} <- {before}")
        if done % max(1, count // 20) == 0:
            rate = done / (time.perf_counter() - began)
            print(f"{done} {kind}, {len(bugs)} bugs, {rate:.0f} a second", file=sys.stderr)
    slow = search.pool[0]
    return {
        kind: count,
        "accepted": counts.pop(ACCEPTED, 0),
        "refused": dict(counts.most_common()),
        "bugs": bugs,
        "slowest": {
            "share_of_time_allowed": round(slow.share, 3),
            "seconds": round(slow.seconds, 6),
            "bytes": size(slow.item),
            "allowed": f"{allowed[0]} s and {allowed[1]} s a byte",
        },
        "wall_s": round(time.perf_counter() - began, 1),
    }
