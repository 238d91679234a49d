"""Arrays of unsigned bytes out of an .npz file, which is a zip of .npy files; nothing in it is run."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LIMIT_BYTES = 2**30


def read_arrays(path: Path, names: tuple[str, ...]) -> list[NDArray[np.uint8]]:
    """Return the arrays called `names`.

    Raises ValueError for a damaged file, a name that it lacks, and an array of another type, over 1 GiB, or not exactly
    as long as its header says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [_array(archive, name) for name in names]
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{path}: expected an .npz file with {', '.join(names)} of unsigned bytes: {error}") from error


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    with archive.open(f"{name}.npy") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is not of the npy format's version 1.0")
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
        # Read only as much as the header declares, and no more than the limit, however much it unpacks to.
        if dtype != np.uint8 or math.prod(shape) > LIMIT_BYTES:
            raise ValueError(f"{name} is {dtype} {shape}")
        values = file.read(math.prod(shape) + 1)
    if len(values) != math.prod(shape):
        raise ValueError(f"{name} is of shape {shape} and holds another number of bytes")
    return np.frombuffer(values, np.uint8).reshape(shape, order="F" if by_column else "C")
