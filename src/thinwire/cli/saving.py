"""A result that took long is not lost because its place cannot take it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from thinwire.cli.bad_input import Unwritten

T = TypeVar("T")


def save(write: Callable[[Path], T], file: Path) -> T:
    """Return what ``write(file)`` returns; where that fails, write to the temporary folder and raise Unwritten."""
    try:
        return write(file)
    except OSError as error:
        raise Unwritten(f"{file} cannot be written ({error.strerror or error}); {_elsewhere(write, file)}") from error


def _elsewhere(write: Callable[[Path], object], file: Path) -> str:
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="thinwire-"))
        write(folder / file.name)
    except OSError as error:
        if folder is not None:
            folder.rmdir()
        return f"nor can {tempfile.gettempdir()} ({error.strerror or error}): make room and run again"
    return f"the result is in {folder / file.name}"
