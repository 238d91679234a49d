"""Which round a message belongs to, whoever drives them: a strategy, an older one in threads, a user's loop."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import Message

_NAMES = ("server-round", "server_round", "current_round", "round")
TRAINS = "train"
"""The category of messages that begin a round; they may name an action, ``train.step``."""


def trains(message: Message) -> bool:
    """Return whether a message asks for training."""
    return str(message.metadata.message_type).split(".")[0] == TRAINS


class Rounds:
    """Counts rounds from 1: by what messages say, else a node that is to train a second time begins the next one."""

    def __init__(self) -> None:
        self.number = 0
        self._said: tuple[str, int] | None = None
        self._trained: set[tuple[int, str]] = set()
        self._before: set[int] = set()

    def begins(self, messages: Sequence[Message]) -> bool:
        """Take note of messages that are about to be sent; returns whether a round begins with them."""
        training = [message for message in messages if trains(message)]
        if not training:
            return False
        said = _said(training[0])
        asked = {(message.metadata.dst_node_id, message.metadata.message_type) for message in training}
        fresh = not self.number or (said != self._said if said and self._said else bool(asked & self._trained))
        if fresh:
            self.number += 1
            self._before, self._trained = {node for node, _ in self._trained}, set()
        self._said = said or self._said
        self._trained |= asked
        return fresh

    @property
    def trained_before(self) -> int:
        """How many nodes trained in the round before; 0: there was none."""
        return len(self._before)

    def cohort(self, messages: Sequence[Message]) -> list[int]:
        """Return the nodes of a round: those of the messages; where these go out one by one, all that are known."""
        nodes = [int(message.metadata.dst_node_id) for message in messages]
        if len(nodes) > 1:
            return nodes
        return sorted({*nodes, *self._before, *(node for node, _ in self._trained)})


def _said(message: Message) -> tuple[str, int] | None:
    """Return what a message says of its round, and where: rounds of two sources are not compared."""
    group = message.metadata.group_id
    if group.isdecimal():
        return "group", int(group)
    for config in message.content.config_records.values() if message.has_content() else ():
        for name in _NAMES:
            if isinstance(value := config.get(name), int) and not isinstance(value, bool):
                return name, value
    return None
