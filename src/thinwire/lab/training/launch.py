"""All workers of a run on this machine, started and watched by torch's elastic launcher."""

from __future__ import annotations

import json
import logging
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from thinwire.lab.training.worker import Work, work

_GRACE_S = 5
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

    Raises WorkersFailed, KeyboardInterrupt after Ctrl-C.
    """
    with tempfile.TemporaryDirectory(prefix="thinwire-") as logs, _quiet():
        try:
            elastic_launch(_config(told.config.workers, logs), work)(told)
        except SignalException as stopped:
            if stopped.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise WorkersFailed(f"stopped by {stopped.sigval.name}") from None
        except ChildFailedError as failed:
            if failed.get_first_failure()[1].exitcode == -signal.SIGINT:
                raise KeyboardInterrupt from None
            raise WorkersFailed(_reason(Path(logs), told.config.workers)) from None


def _config(workers: int, logs: str) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=workers,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        shutdown_timeout=_GRACE_S,
        logs_specs=DefaultLogsSpecs(log_dir=logs),
    )


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
