"""All workers of a run on this machine, started and watched as torch's elastic launcher does, without its rendezvous.

That listens on all interfaces, and unpickles what anybody on the network writes into its store.
"""

from __future__ import annotations

import json
import logging
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, PContext, SignalException, start_processes

from thinwire.lab.training.meeting import loopback_only
from thinwire.lab.training.worker import Work, work

_GRACE_S, _POLL_S = 5, 0.1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_LOGGERS = ("torch.distributed.elastic", "torch.multiprocessing.spawn")
EXPECTED = ("Diverged", "NonFiniteError", "PlanMismatch", "WireError", "PeerError", "ValueError", "OSError")
"""What a worker raises on purpose: its text is enough."""
_LOST = "gloo"
"""In the text of what a worker raises whose peer is gone."""


class WorkersFailed(RuntimeError):
    """A worker ended before its work did: the text says which, and why."""


def launch(told: Work) -> None:
    """Train with as many processes as the config has workers; returns when all are done, and leaves none behind.

    Workers meet in a file, and listen on loopback only. Raises WorkersFailed, KeyboardInterrupt after Ctrl-C.
    """
    with tempfile.TemporaryDirectory(prefix="thinwire-") as folder, _quiet():
        started = _started(told, Path(folder))
        try:
            ended = started.wait(period=_POLL_S)
        except SignalException as stopped:
            started.close(stopped.sigval, _GRACE_S)
            if stopped.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise WorkersFailed(f"stopped by {stopped.sigval.name}") from None
        finally:
            started.close(timeout=_GRACE_S)
        if ended is not None and ended.is_failed():
            if any(failure.exitcode == -signal.SIGINT for failure in ended.failures.values()):
                raise KeyboardInterrupt
            raise WorkersFailed(_reason(Path(folder), told.config.workers))


def _started(told: Work, folder: Path) -> PContext:
    """Start the workers; ``folder`` is this user's alone."""
    world, ranks = str(told.config.workers), range(told.config.workers)
    shared = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, **loopback_only()}
    environments = {rank: {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in ranks}
    args = dict.fromkeys(ranks, (told, folder / "meeting"))
    return start_processes("thinwire", work, args, environments, DefaultLogsSpecs(log_dir=str(folder)))


def _reason(logs: Path, workers: int) -> str:
    """Return why the run ended: what a worker raised on purpose, else who died silently, else a traceback."""
    said = {int(file.parent.name): json.loads(file.read_text())["message"] for file in logs.rglob("error.json")}
    for message in said.values():
        name, _, text = message["message"].partition(": ")
        if name in EXPECTED:
            return str(text)
    silent = [str(rank) for rank in range(workers) if rank not in said]
    if not said or (silent and any(_LOST in message["message"] for message in said.values())):
        return f"worker {' or '.join(silent)} ended without a reason: killed, or out of memory"
    rank, message = next(iter(said.items()))
    return f"worker {rank}: {message['extraInfo']['py_callstack'].strip()}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the launcher's own log off the screen: what matters of it is raised; and put back the handlers it leaves."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    levels = {logger: logger.level for logger in map(logging.getLogger, _LOGGERS)}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
        for number, handler in handlers.items():
            signal.signal(number, handler)
