"""Look for time: inputs that cost a decoder more than their bytes allow, the worst of them made small.

    search = SlowSearch(decode=lambda data: loads(data), allowed_s=lambda data: 2e-6 * len(data))
    for data in inputs:
        search.offer(data)
    worst = search.worst(smaller=cuts)             # worst.share > 1: more time than allowed

A decoder may be anything that takes an input and returns or raises; an input may be anything. Time is that of the
process's own cores, so that a busy machine does not matter; what is slow once is timed again before it counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_AGAIN = 5
_NEARLY = 0.9
"""A smaller input takes the place of one that it is nearly as slow as, per byte."""
_MOST_TRIALS = 400


@dataclass(frozen=True)
class Slow(Generic[T]):
    """An input, the seconds of processor time that it takes and those that its bytes allow."""

    item: T
    seconds: float
    allowed_s: float

    @property
    def share(self) -> float:
        """How much of the time allowed it takes."""
        return self.seconds / self.allowed_s


class SlowSearch(Generic[T]):
    """Times inputs and keeps the slowest, by the share of what is allowed to each. ``pool`` is worth mutating on."""

    def __init__(self, decode: Callable[[T], object], allowed_s: Callable[[T], float], keep: int = 32) -> None:
        self._decode, self._allowed_s, self._keep = decode, allowed_s, keep
        self.pool: list[Slow[T]] = []
        self.timed = 0

    def offer(self, item: T) -> None:
        """Decode an input, and keep it if it is among the slowest."""
        self.timed += 1
        once = self._timed(item, 1)
        if self._promising(once) and self._promising(slow := self._timed(item, _AGAIN)):
            self.pool = sorted([*self.pool, slow], key=lambda kept: -kept.share)[: self._keep]

    def worst(self, smaller: Callable[[T], Iterable[T]]) -> Slow[T]:
        """Return the slowest input, made smaller while its share stays."""
        found, left = self._timed(self.pool[0].item, _AGAIN), _MOST_TRIALS
        while (next_one := self._smaller(found, smaller, left)) is not None:
            found, tried = next_one
            left -= tried
        return found

    def _smaller(
        self, found: Slow[T], smaller: Callable[[T], Iterable[T]], left: int
    ) -> tuple[Slow[T], int] | None:
        for tried, item in enumerate(smaller(found.item), 1):
            if tried > left:
                return None
            slow = self._timed(item, 1)
            if slow.share >= _NEARLY * found.share and (slow := self._timed(item, _AGAIN)).share >= _NEARLY * found.share:
                return slow, tried
        return None

    def _promising(self, slow: Slow[T]) -> bool:
        return len(self.pool) < self._keep or slow.share > self.pool[-1].share

    def _timed(self, item: T, times: int) -> Slow[T]:
        return Slow(item, min(self._once(item) for _ in range(times)), self._allowed_s(item))

    def _once(self, item: T) -> float:
        began = time.process_time()
        with suppress(Exception):
            self._decode(item)
        return time.process_time() - began


def cuts(data: bytes) -> Iterator[bytes]:
    """Yield the data without each of its halves, quarters, and so on down to single bytes: fewer and fewer is cut."""
    span = len(data) // 2
    while span:
        for at in range(0, len(data), span):
            yield data[:at] + data[at + span :]
        span //= 2
