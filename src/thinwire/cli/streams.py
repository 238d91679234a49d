"""What a command prints, where that cannot be: a reader that has gone, a full disk, an encoding that lacks a sign."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TextIO

CLOSED = 141
"""The exit code that a shell gives to whatever SIGPIPE ends: `thinwire list | head` is no failure of ours."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def tolerant() -> None:
    """Print signs that the terminal's encoding lacks as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write out what was printed. Raises OSError where it cannot be."""
    if sys.stdout is not None:
        sys.stdout.flush()


def lost(error: OSError) -> tuple[int, str]:
    """Return exit code and sentence (none where nobody reads any more) for output that was not written.

    Raises ``error`` again where it is anything else: that is a bug.
    """
    if isinstance(error, BrokenPipeError) and any(map(_unread, (sys.stdout, sys.stderr))):
        _silence(sys.stdout)
        _silence(sys.stderr)
        return CLOSED, ""
    if error.errno not in _FULL:
        raise error
    if error.filename is None:
        _silence(sys.stdout)
    where = f"{error.filename}: " if error.filename else ""
    return 1, f"the output cannot be written: {where}{error.strerror}; what is incomplete was removed"


def _unread(stream: TextIO | None) -> bool:
    """Say whether the other end of a pipe is closed."""
    descriptor = _descriptor(stream)
    if descriptor is None:
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _silence(stream: TextIO | None) -> None:
    """Send what a stream still holds nowhere: it is tried once more when Python ends, and its error printed."""
    descriptor = _descriptor(stream)
    if descriptor is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
