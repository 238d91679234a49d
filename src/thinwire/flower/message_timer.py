"""One exchange with clients, and how long each of them took."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from flwr.app import Message
from flwr.serverapp import Grid

_SHORTEST_S, _LONGEST_S, _SHARE = 0.1, 3.0, 0.05


class Timed(NamedTuple):
    """A reply, and the seconds from sending its message until it was there; -1: not known."""

    reply: Message
    elapsed_s: float


class MessageTimer:
    """Knows when each message left. A Grid that knows better has ``elapsed_s(message_id)``."""

    def __init__(self, grid: Grid) -> None:
        self._grid, self._left = grid, dict[str, float]()

    def push(self, messages: Sequence[Message]) -> list[str]:
        """Push messages; returns their ids."""
        started = time.monotonic()
        ids = list(self._grid.push_messages(messages))
        self._left.update({message_id: started for message_id in ids if message_id})
        return ids

    def pull(self, message_ids: Iterable[str]) -> list[Timed]:
        """Pull the replies that are there."""
        replies = list(self._grid.pull_messages(message_ids))
        return [self._timed(reply) for reply in replies]

    def exchange(self, messages: Sequence[Message], timeout: float | None) -> list[Timed]:
        """Push, and pull until all replies are there or time is out, as the Grid itself would, but by the clock.

        A Grid that knows how long each message took is left to itself. Who gives up on a reply that is not among them
        asks for its ``elapsed_s``.
        """
        if self._asks():
            return [self._timed(reply) for reply in self._grid.send_and_receive(messages, timeout=timeout)]
        started = time.monotonic()
        waiting, found = {message_id for message_id in self.push(messages) if message_id}, list[Timed]()
        while waiting and (timeout is None or time.monotonic() - started < timeout):
            found += self.pull(waiting)
            waiting -= {item.reply.metadata.reply_to_message_id for item in found}
            if waiting:
                time.sleep(_pause(time.monotonic() - started))
        return found

    def elapsed_s(self, message_id: str) -> float:
        """Return for how long a reply was, or is, waited for, and wait no longer; -1: not known."""
        left = self._left.pop(message_id, None)
        if self._asks():
            return float(self._grid.elapsed_s(message_id))  # type: ignore[attr-defined]
        return -1.0 if left is None else time.monotonic() - left

    def _asks(self) -> bool:
        return callable(getattr(self._grid, "elapsed_s", None))

    def _timed(self, reply: Message) -> Timed:
        return Timed(reply, self.elapsed_s(reply.metadata.reply_to_message_id))


def _pause(waited_s: float) -> float:
    """Return for how long to wait before asking again: replies are timed to a twentieth, as often as Flower asks."""
    return min(_LONGEST_S, max(_SHORTEST_S, _SHARE * waited_s))
