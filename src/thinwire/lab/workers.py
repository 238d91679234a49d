"""Worker processes that run plans side by side and say how far they are. One that dies costs its run and no other."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from thinwire.lab.plan import Plan

Kind = Literal["started", "round", "finished", "failed", "said"]
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Event:
    """What happened to a run: value is its round's row, its result, (reason, traceback) or a line of a log."""

    kind: Kind
    plan: Plan
    value: Any = None


OnEvent = Callable[[Event], None]


def run_plans(plans: Iterable[Plan], jobs: int, on_event: OnEvent) -> None:
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


class _Worker:
    """One process at the other end of a pipe, started anew when it died."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self._start()

    def _start(self) -> None:
        self.connection, other = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def give(self, plan: Plan, on_event: OnEvent) -> None:
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


def _answer(connection: Connection, plan: Plan) -> None:
    try:
        result = plan.run(lambda row: connection.send(("round", row)))
    except BrokenPipeError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        connection.send(("failed", (reason, traceback.format_exc())))
    else:
        connection.send(("finished", result))
