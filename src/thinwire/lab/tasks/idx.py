"""The idx file format of MNIST and its kin, plain or gzipped: 0, 0, type, rank, sizes as big-endian uint32, values."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 8
LIMIT_BYTES = 2**30


def read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes in `path`, which must have `rank` dimensions.

    Raises ValueError for a file that is damaged, of another type or rank, over 1 GiB, or not exactly as long as its
    header says. A file of any contents costs at most what its header declares, however much it unpacks to.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _shape(file.read(4 + 4 * rank), rank, path)
            values = file.read(math.prod(shape) + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file: {error}") from error
    if len(values) != math.prod(shape):
        raise ValueError(
            f"{path}: header says {shape}, so {math.prod(shape)} bytes; the file holds {_held(values, shape)}"
        )
    return np.frombuffer(values, np.uint8).reshape(shape)


def _shape(header: bytes, rank: int, path: Path) -> tuple[int, ...]:
    expected = bytes([0, 0, UNSIGNED_BYTE, rank])
    if len(header) < 4 + 4 * rank or header[:4] != expected:
        raise ValueError(
            f"{path}: not an idx file of unsigned bytes with {rank} dimensions: it should start with {expected.hex()} "
            f"and {rank} sizes, it starts with {header[:4].hex() or 'nothing'} in {len(header)} header bytes"
        )
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    if math.prod(shape) > LIMIT_BYTES:
        raise ValueError(f"{path}: header says {shape}, over the limit of {LIMIT_BYTES} bytes")
    return shape


def _held(values: bytes, shape: tuple[int, ...]) -> str:
    return "more" if len(values) > math.prod(shape) else f"only {len(values)}"
