"""What a comparison shows while it runs: a live screen on a terminal with rich, else one line per finished run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from thinwire.cli.labels import size
from thinwire.cli.screen import drawing
from thinwire.lab.planned import Planned
from thinwire.lab.workers import Event, OnEvent


@contextmanager
def watch(wanted: Sequence[Planned], todo: Sequence[Planned], quiet: bool) -> Iterator[OnEvent]:
    """Give a function to call with every event; the screen is put back afterwards."""
    if quiet:
        yield _ignore
    elif drawing():
        from thinwire.cli.live import live

        with live(wanted, todo) as on_event:
            yield on_event
    else:
        yield Lines(len(todo))


class Lines:
    """Prints one line per finished or failed run."""

    def __init__(self, count: int) -> None:
        self._count, self._ended = count, 0

    def __call__(self, event: Event) -> None:
        """Print what ended; what a run logged goes to stderr."""
        if event.kind == "said":
            print(f"{event.plan.slug}: {event.value}", file=sys.stderr, flush=True)
        if event.kind in ("finished", "failed"):
            self._ended += 1
            print(f"[{self._ended}/{self._count}] {event.plan.slug}: {_outcome(event)}", flush=True)


def _outcome(event: Event) -> str:
    if event.kind == "failed":
        return f"failed: {event.value[0]}"
    metric, sent = event.plan.outcome(event.value)
    return f"{event.plan.metric} {metric:.4f}, {size(sent)}, {event.value['totals']['wall_s']:.1f} s"


def _ignore(event: Event) -> None:
    pass
