"""Where a task's files are looked for, and what is said when they are not there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

ENVIRONMENT_NAME = "THINWIRE_DATA"


class DataNotFound(FileNotFoundError):
    """A task's files are not in the folder looked in, or cannot be downloaded; the text says how to get them."""


def data_dir(explicit: str | Path | None = None) -> Path | None:
    """Return the data folder: `explicit`, else the environment variable THINWIRE_DATA, else None."""
    given = explicit or os.environ.get(ENVIRONMENT_NAME)
    return Path(given).expanduser() if given else None


def locate(root: Path, folders: Sequence[str], names: Sequence[str], suffixes: Sequence[str] = ("",)) -> list[Path]:
    """Return the files `names`, each with any of `suffixes`, in the first of root/`folders` that has all; else none."""
    for folder in (root / name for name in folders):
        found = [_first_file(folder / (name + suffix) for suffix in suffixes) for name in names]
        if None not in found:
            return [path for path in found if path]
    return []


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def not_found(task: str, root: Path | None, expected: str) -> DataNotFound:
    """Return the error for a task whose files are not under `root`."""
    looked = f"looked in {root}" if root else "no data folder was given"
    return DataNotFound(
        f"task {task}: {looked}, expected {expected}; name the folder by --data FOLDER or {ENVIRONMENT_NAME}"
    )
