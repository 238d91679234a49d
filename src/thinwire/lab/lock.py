"""One run at a time writes to a place: a lock that the system lets go of whenever its process ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":  # which has no such locks: there, two runs in one place are not noticed
    import fcntl

NAME = ".thinwire-lock"


class InUse(ValueError):
    """Another run writes to the same place."""


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a folder that is there, or the place of a file in one, until the block ends. Raises InUse, OSError.

    The lock is a file in the folder (``.thinwire-lock``) or beside the file (``.<name>.thinwire-lock``) that holds the
    number of its process, and is gone afterwards; one that a killed process left holds nobody up.
    """
    file = out / NAME if out.is_dir() else out.with_name(f".{out.name}{NAME}")
    number = _taken(file, out)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        os.close(number)


def _taken(file: Path, out: Path) -> int:
    """Return the descriptor of the lock file, which is ours and still in its place."""
    while True:
        number = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            _lock(number, out)
            if _same(number, file):
                os.ftruncate(number, 0)
                os.write(number, f"{os.getpid()}\n".encode())
                return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)


def _lock(number: int, out: Path) -> None:
    if sys.platform != "win32":
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            whose = os.pread(number, 20, 0).decode(errors="replace").strip()
            by = f"process {whose}" if whose.isdecimal() else "another process"
            raise InUse(f"{out} is being written to by {by}: wait for it, or give another --out") from None


def _same(number: int, file: Path) -> bool:
    """Say whether the file in its place is still the one that is open: who held it before has removed it."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(file, follow_symlinks=False))
    except FileNotFoundError:
        return False
