"""What the pieces of the record that is being filled cost: a codec that several of them have is named once."""

from __future__ import annotations

from thinwire.checkpoint.sent import Sent

_SHORT_PLACES = 1 << 7
"""Codecs of a frame whose places take one byte."""


class Ledger:
    """The pieces that were chosen for the next record."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self._named: set[bytes] = set()

    def cost_bytes(self, sent: Sent) -> int:
        """Return what a piece would add to the record, at most."""
        place = 1 if len(self._named) < _SHORT_PLACES else 2
        return sent.own_bytes + place + (0 if sent.description in self._named else len(sent.description))

    def add(self, sent: Sent) -> None:
        """Take note of a piece."""
        self.total_bytes += self.cost_bytes(sent)
        self._named.add(sent.description)

    def clear(self) -> None:
        """Take note that the record was written."""
        self.total_bytes = 0
        self._named.clear()
