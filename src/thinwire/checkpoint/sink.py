"""A file as it is being written: how much, and the digest of it."""

from __future__ import annotations

import hashlib
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


def lying(x: Tensor) -> memoryview:
    """Return the bytes of a tensor as they lie in memory, without a copy."""
    return raw_bytes(x).numpy().data
