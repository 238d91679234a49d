"""Where buckets are worked on: threads of their own, each with its own process group, or the thread that calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from thinwire.collective import TorchLink

T = TypeVar("T")


class Lanes:
    """One link a lane. What is given to a lane runs there one after the other: in the same order on all ranks.

    With ``threads``, lanes run side by side with the caller, else each call runs at once.
    """

    def __init__(self, links: Sequence[TorchLink], threads: bool) -> None:
        self.links = tuple(links)
        self._threads = [ThreadPoolExecutor(1, f"thinwire-lane-{at}") for at in range(len(links))] if threads else []

    def submit(self, number: int, work: Callable[[TorchLink], T]) -> Future[T]:
        """Run ``work`` on lane ``number % lanes``. What it raises is in the future."""
        lane = number % len(self.links)
        if self._threads:
            return self._threads[lane].submit(work, self.links[lane])
        return _done(work, self.links[lane])


def _done(work: Callable[[TorchLink], T], link: TorchLink) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(work(link))
    except Exception as error:
        future.set_exception(error)
    return future
