"""Worker processes that run plans side by side and say how far they are. One that dies costs its run and no other."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from thinwire.lab.planned import Planned

Kind = Literal["started", "row", "finished", "failed", "said"]
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Event:
    """What happened to a run: value is a row of it, its result, (reason, traceback) or a line of a log."""

    kind: Kind
    plan: Planned
    value: Any = None


OnEvent = Callable[[Event], None]


def run_plans(plans: Iterable[Planned], jobs: int, on_event: OnEvent) -> None:
    """Run all plans in at most ``jobs`` processes; what ``on_event`` raises, KeyboardInterrupt included, stops them."""
    waiting = deque(plans)
    workers = [_Worker() for _ in range(min(jobs, len(waiting)))]
    try:
        for worker in workers:
            worker.give(waiting.popleft(), on_event)
        while busy := {worker.connection: worker for worker in workers if worker.plan}:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                on_event(worker.take())
                if worker.plan is None and waiting:
                    worker.give(waiting.popleft(), on_event)
    finally:
        for worker in workers:
            worker.stop()


def run_here(plans: Iterable[Planned], on_event: OnEvent) -> None:
    """Run all plans in this process, one after the other; their rows may come from another thread."""
    for plan in plans:
        on_event(Event("started", plan))
        kind, value = _made(plan, partial(_tell, plan, on_event))
        on_event(Event(kind, plan, value))


def _tell(plan: Planned, on_event: OnEvent, row: dict[str, Any]) -> None:
    on_event(Event("row", plan, row))


class _Worker:
    """One process at the other end of a pipe, started anew when it died."""

    def __init__(self) -> None:
        self.plan: Planned | None = None
        self._start()

    def _start(self) -> None:
        self.connection, other = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def give(self, plan: Planned, on_event: OnEvent) -> None:
        if not self._process.is_alive():
            self._start()
        self.plan = plan
        self.connection.send(plan)
        on_event(Event("started", plan))

    def take(self) -> Event:
        """Return what the process says next; its death is the failure of its run."""
        assert self.plan is not None
        plan = self.plan
        try:
            kind, value = self.connection.recv()
        except EOFError:
            self._process.join()
            kind, value = "failed", (f"its process ended with code {self._process.exitcode}", "")
            self.connection.close()
            self._start()
        if kind in ("finished", "failed"):
            self.plan = None
        return Event(kind, plan, value)

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()
        self.connection.close()


class _Said(logging.Handler):
    """Sends log records to the parent, whose screen they would tear otherwise."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send(("said", record.getMessage()))


def _work(connection: Connection) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("thinwire").addHandler(_Said(connection))
    try:
        while True:
            _answer(connection, connection.recv())
    except (EOFError, BrokenPipeError):
        return


def _answer(connection: Connection, plan: Planned) -> None:
    connection.send(_made(plan, lambda row: connection.send(("row", row))))


def _made(plan: Planned, on_row: Callable[[dict[str, Any]], None]) -> tuple[Kind, Any]:
    """Make a run and return how it ended, with its result or with (reason, traceback)."""
    try:
        return "finished", plan.run(on_row)
    except BrokenPipeError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return "failed", (reason, traceback.format_exc())
