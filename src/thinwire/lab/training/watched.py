"""What tells another process, or this one, how far a run is."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

from thinwire.lab.training.trainer import OnStep, Seen

OnRow = Callable[[dict[str, Any]], None]
EVERY_S = 0.25
"""More often nobody looks, and every message takes time from the run that it tells of."""
_JOIN_S = 10


@dataclass(frozen=True)
class Direct:
    """Calls ``on_row`` with steps as dictionaries, now and then."""

    on_row: OnRow

    @contextmanager
    def __call__(self) -> Iterator[OnStep]:
        """Give a function to call with every step."""
        last = -EVERY_S

        def on_step(seen: Seen) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= EVERY_S:
                last = now
                self.on_row(asdict(seen))

        yield on_step


@dataclass(frozen=True)
class Sending:
    """The same through a pipe, which a worker process is given."""

    connection: Connection

    @contextmanager
    def __call__(self) -> Iterator[OnStep]:
        """Give a function to call with every step."""
        with Direct(self.connection.send)() as on_step:
            yield on_step


@contextmanager
def listening(on_row: OnRow) -> Iterator[Sending]:
    """Give what a worker sends its steps through; a thread calls ``on_row`` with them until the block ends."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    thread = threading.Thread(target=_listen, args=(reader, on_row), daemon=True)
    thread.start()
    try:
        yield Sending(writer)
    finally:
        writer.close()
        thread.join(_JOIN_S)


def _listen(reader: Connection, on_row: OnRow) -> None:
    # Closed whatever happens: a worker must not wait for a reader that is gone.
    with reader, suppress(EOFError):
        while True:
            on_row(reader.recv())
