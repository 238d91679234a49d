"""Log lines of thinwire appear in a Flower run as Flower's own do: same place, same look, same level."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FLWR = logging.getLogger("flwr")
THINWIRE = logging.getLogger("thinwire")


class FlowersConsole(logging.Handler):
    """Hands records to the handlers that flwr's logger has at that moment, as if flwr had logged them.

    So they follow what flwr does to its handlers later (a redirected or mirrored output, a log file, another level),
    and `FLWR_LOG_LEVEL` holds. A record that a handler of the application prints on the console is left to that one.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, unless flwr itself would not print it or the application does."""
        if not FLWR.isEnabledFor(record.levelno) or _printed_by_the_application(record):
            return
        for handler in FLWR.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


def show_log() -> None:
    """Let INFO records of the logger "thinwire" appear in a Flower run; a second call changes nothing.

    Left alone is what the application has configured: a level of the logger "thinwire", or a handler there. Where the
    root logger prints on the console, the records appear there and not a second time.
    """
    if any(not isinstance(handler, FlowersConsole | logging.NullHandler) for handler in THINWIRE.handlers):
        return
    _attach()
    if THINWIRE.level == logging.NOTSET:
        THINWIRE.setLevel(min([logging.INFO, *(handler.level for handler in FLWR.handlers if handler.level)]))


@contextmanager
def quiet_flwr(level: int = logging.WARNING) -> Iterator[None]:
    """Print no log line of flwr or thinwire below `level` inside the block, and put flwr's level back afterwards.

    Handlers of the application, such as pytest's `caplog`, still receive every record of thinwire.
    """
    _attach()
    before = FLWR.level
    FLWR.setLevel(level)
    try:
        yield
    finally:
        FLWR.setLevel(before)


def _attach() -> None:
    """Print by flwr's handlers what no handler of the application prints; else Python's of last resort does."""
    if all(isinstance(handler, logging.NullHandler) for handler in THINWIRE.handlers):
        THINWIRE.addHandler(FlowersConsole())


def _printed_by_the_application(record: logging.LogRecord) -> bool:
    """Tell whether a handler on the record's way other than ours writes it on the console."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(_prints(handler) and record.levelno >= handler.level for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _prints(handler: Any) -> bool:
    # Rich's handler has a console; all others that print have one of the process's streams.
    streams = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    return hasattr(handler, "console") or any(getattr(handler, "stream", None) is s for s in streams if s is not None)
