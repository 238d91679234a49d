"""Where buckets are worked on: threads of their own, each with its own process group, or the thread that calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from thinwire.collective import Carrier, TorchLink

T = TypeVar("T")

LANES = 2
"""The usual number of threads beside backward."""


class Lanes:
    """One link a lane. What is given to a lane runs there one after the other: in the same order on all ranks.

    With ``threads``, lanes run side by side with the caller, else each call runs at once.
    """

    def __init__(self, links: Sequence[TorchLink], threads: bool) -> None:
        self.links = tuple(links)
        self.carriers = tuple(map(Carrier, links))
        self._threads = [ThreadPoolExecutor(1, f"thinwire-lane-{at}") for at in range(len(links))] if threads else []

    def submit(self, number: int, work: Callable[[Carrier], T]) -> Future[T]:
        """Run ``work`` on lane ``number % lanes``. What it raises is in the future."""
        lane = number % len(self.links)
        if self._threads:
            return self._threads[lane].submit(work, self.carriers[lane])
        return _done(work, self.carriers[lane])

    def used(self, buckets: int) -> range:
        """Return the lanes that so many buckets are on."""
        return range(min(buckets, len(self.links)))


def _done(work: Callable[[Carrier], T], carrier: Carrier) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(work(carrier))
    except Exception as error:
        future.set_exception(error)
    return future
