"""What a comparison asks of its runs, of whatever kind they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


def plain(text: str) -> str:
    """Return what of a text may be in a file's name: 'TopK(0.01, values=Cast())' -> 'topk-0.01-values-cast'."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")[:60]


def slug(group: str, seed: int) -> str:
    """Return the name of a run's file, without its ending."""
    return f"{group}-seed{seed}"


@dataclass(frozen=True)
class Reached:
    """How far a run is: steps or rounds done, of how many, the bytes sent so far, and a few words."""

    at: int
    of: int
    sent_bytes: int
    words: str


class Planned(Protocol):
    """One run to be made: its file is ``<slug>.json``, in schema ``schema``, and its result has ``described()`` in it.

    ``alone``: it starts processes of its own that take all cores, so that nothing runs beside it. ``baseline`` is the
    group that the others are compared with, ``metric`` the name of what is measured.
    """

    @property
    def group(self) -> str:
        """What all its seeds are filed under."""
        ...

    @property
    def slug(self) -> str:
        """The name of its file, without the ending."""
        ...

    @property
    def seed(self) -> int:
        """Its seed."""
        ...

    @property
    def schema(self) -> str:
        """The schema of its result."""
        ...

    @property
    def baseline(self) -> str:
        """The group that the others are compared with."""
        ...

    @property
    def metric(self) -> str:
        """The name of what is measured."""
        ...

    @property
    def alone(self) -> bool:
        """Whether nothing may run beside it."""
        ...

    def described(self) -> dict[str, Any]:
        """Return its settings, as ``config`` of its result holds them."""
        ...

    def task(self) -> dict[str, Any]:
        """Return those of its settings that all runs of a folder share."""
        ...

    def run(self, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Make it, call ``on_row`` with its rows, and return its result."""
        ...

    def reached(self, row: dict[str, Any], before: int) -> Reached:
        """Return how far a row says it is; ``before``: the bytes that were sent before the row."""
        ...

    def outcome(self, result: dict[str, Any]) -> tuple[float, int]:
        """Return the final metric of its result, and the bytes that it took."""
        ...
