"""CIFAR's python files, read as data: nothing in them is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinwire.lab.training.data.pickle_machine import Made, run

LIMIT_BYTES = 2**30


def read_pickled(path: Path) -> dict[str, Any]:
    """Return the dict in a CIFAR python file: texts as str, numbers as int, arrays as uint8.

    Raises ValueError for a file over 1 GiB, a damaged one, and one that asks for anything but such data.
    """
    if path.stat().st_size > LIMIT_BYTES:
        raise ValueError(f"{path}: over the limit of {LIMIT_BYTES} bytes")
    try:
        found = run(path.read_bytes())
        return {_text(key): _array(value) if isinstance(value, Made) else value for key, value in found.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: not a CIFAR python file of numbers, texts and byte arrays: {error}") from error


def _text(key: str | bytes) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else key


def _array(made: Made) -> NDArray[np.uint8]:
    _, (rows, columns), dtype, by_column, values = made.state
    if made.kind != "array" or dtype.kind != "dtype" or dtype.first not in ("u1", "|u1"):
        raise ValueError("it has an array that is not of unsigned bytes")
    content = values.encode("latin-1") if isinstance(values, str) else values
    if len(content) != rows * columns:
        raise ValueError(f"it has an array of {len(content)} bytes, by its shape {rows * columns}")
    return np.frombuffer(content, np.uint8).reshape((rows, columns), order="F" if by_column else "C")
