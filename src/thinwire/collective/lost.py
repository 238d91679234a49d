"""Waiting for messages between ranks, and which ranks it was that went away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta

import torch.distributed as dist

_GRACE = timedelta(seconds=2)
"""Once a rank is gone, for what the others have sent: they, too, have to see who it was, and not who told them."""


def wait(messages: Iterable[tuple[int, Callable[[], dist.Work]]]) -> None:
    """Start all, then wait for each: the rank that a message goes to or comes from, and what starts it.

    Raises RuntimeError that names the ranks which are gone or silent. After an error no work may be left, not even in
    its traceback: connections would stay open, and others wait.
    """
    lost: dict[int, str] = {}
    started: list[tuple[int, dist.Work]] = []
    for rank, start in messages:
        try:
            started.append((rank, start()))
        except RuntimeError as error:
            lost.setdefault(rank, str(error))
    while started:
        rank, work = started.pop(0)
        text = _waited(work, graceful=bool(lost))
        if text is not None:
            lost.setdefault(rank, text)
        del work
    if lost:
        raise RuntimeError(lost_text(lost))


def lost_text(lost: dict[int, str]) -> str:
    """Return who is gone, and what the transport said of it: rank -> text."""
    ranks = ", ".join(map(str, sorted(lost)))
    verb = "are" if len(lost) > 1 else "is"
    said = next(iter(lost.values())).strip()
    return f"rank {ranks} {verb} gone: ended, unreachable, or silent for longer than the group's time-out ({said})"


def _waited(work: dist.Work, graceful: bool) -> str | None:
    """Wait for one; return what went wrong, unless it only took longer than there is grace."""
    began = time.monotonic()
    try:
        work.wait(_GRACE) if graceful else work.wait()
    except RuntimeError as error:
        slow = graceful and time.monotonic() - began >= _GRACE.total_seconds()
        return None if slow else str(error)
    return None
