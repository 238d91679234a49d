"""A file that is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from thinwire.kernels.raw_bytes import raw_bytes


class Sink:
    """A file being written, with the BLAKE2b digest and the number of all bytes so far."""

    def __init__(self, file: BinaryIO, digest_bytes: int) -> None:
        self._file = file
        self._digest = hashlib.blake2b(digest_size=digest_bytes)
        self.written_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self._file.write(data)
        self._digest.update(data)
        self.written_bytes += len(data)

    def digest(self) -> bytes:
        """Return the digest of what was written."""
        return self._digest.digest()


@contextmanager
def draft(path: Path) -> Iterator[BinaryIO]:
    """Write to a name beside ``path``; it becomes ``path`` when the block ends without an error, else it is removed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            yield file
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def lying(x: Tensor) -> memoryview:
    """Return the bytes of a tensor as they lie in memory, without a copy."""
    return raw_bytes(x).numpy().data
