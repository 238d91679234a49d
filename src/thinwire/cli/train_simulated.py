"""`train` with all workers in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thinwire.lab.training.worker import Work


def in_one_process(told: Work) -> None:
    """Train with as many threads as a worker would have, so that the bits are a worker's. Raises WorkersFailed."""
    from thinwire.lab.one_thread import threads
    from thinwire.lab.training.launch import EXPECTED, WorkersFailed
    from thinwire.lab.training.simulated import simulate
    from thinwire.lab.training.worker import threads_of

    try:
        with threads(threads_of(told.config.workers)):
            simulate(told)
    except Exception as error:
        if type(error).__name__ not in EXPECTED:
            raise
        raise WorkersFailed(str(error)) from error
