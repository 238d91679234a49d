"""A packed file as it is read: everything checked, then frame by frame. docs/checkpoints.md is the contract."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from thinwire.checkpoint.difference import Mode, travelling
from thinwire.checkpoint.entries import LIMITS
from thinwire.checkpoint.head import FIXED, Head, load_fixed, load_head
from thinwire.checkpoint.pieces import Piece, groups
from thinwire.codec import Encoded, Message
from thinwire.errors import WireError, quoted
from thinwire.wire import loads
from thinwire.wire.frame import HEADER

LENGTH = struct.Struct("<I")
COUNT = struct.Struct("<IQ")
BASE_DIGEST_BYTES, CONTENT_DIGEST_BYTES, FILE_DIGEST_BYTES = 8, 16, 32
RECORD_BYTES = LENGTH.size + HEADER.size + 4
"""What a record takes beside its pieces: its length, the frame's header and checksum."""
_READ_BYTES = 1 << 20
_FRAME_BYTES, _TENSOR_BYTES = 64, 16
"""What a frame is at most beyond its dense tensors (docs/wire-format.md)."""


def trailer_bytes(head: Head) -> int:
    """Return how long the end of a file with this head is."""
    return COUNT.size + BASE_DIGEST_BYTES * len(head.based) + CONTENT_DIGEST_BYTES + FILE_DIGEST_BYTES


@dataclass(frozen=True)
class Record:
    """One frame with what the file says of it."""

    pieces: tuple[Piece, ...]
    modes: tuple[Mode, ...]
    message: Message
    file_bytes: int

    def parts(self) -> Iterator[tuple[Piece, Mode, Encoded]]:
        """Yield piece by piece."""
        yield from zip(self.pieces, self.modes, self.message.values(), strict=True)


@dataclass(frozen=True)
class PackedFile:
    """A file whose every byte was checked."""

    path: Path
    head: Head
    file_bytes: int
    head_bytes: int
    base_digests: dict[str, bytes]
    content_digest: bytes

    def records(self) -> Iterator[Record]:
        """Yield the frames in order; each is read and checked when it is asked for. Raises WireError."""
        with self.path.open("rb") as file:
            file.seek(self.head_bytes)
            for group in groups(self.head.entries, self.head.slice_elements):
                yield _read_record(file, group)
            if self.file_bytes - file.tell() != trailer_bytes(self.head):
                raise WireError("bytes are left over behind the last frame")


def open_packed(path: Path) -> PackedFile:
    """Read head and end of a file and check the digest of all of it. Raises WireError, and OSError."""
    with path.open("rb") as file:
        fixed = file.read(FIXED.size)
        found = load_fixed(fixed, LIMITS)
        digest = hashlib.blake2b(fixed, digest_size=FILE_DIGEST_BYTES)
        packed = file.read(found.stored_bytes)
        file_bytes = file.seek(0, 2)
        _check_digest(file, digest, len(fixed), file_bytes)
        # A head of a few bytes may claim a crowd: each piece has a byte of mode and one of record at least.
        room = max(file_bytes - FIXED.size - found.stored_bytes, 0) // 2
        head = load_head(packed, found, replace(LIMITS, tensors=min(LIMITS.tensors, room)))
        return PackedFile(
            path, head, file_bytes, FIXED.size + found.stored_bytes, *_read_trailer(file, head, file_bytes)
        )


def _check_digest(file: BinaryIO, digest: hashlib.blake2b, start: int, file_bytes: int) -> None:
    file.seek(start)
    left = max(file_bytes - FILE_DIGEST_BYTES - start, 0)
    while left:
        data = file.read(min(left, _READ_BYTES))
        digest.update(data)
        left -= len(data) or left
    if file.read() != digest.digest():
        raise WireError("the checksum does not match: the file is damaged or cut short")


def _read_trailer(file: BinaryIO, head: Head, file_bytes: int) -> tuple[dict[str, bytes], bytes]:
    start = file_bytes - trailer_bytes(head)
    if start < FIXED.size:
        raise WireError(f"{file_bytes} bytes are too few for this head")
    file.seek(start)
    end, frames = COUNT.unpack(file.read(COUNT.size))
    # A head of a few bytes may claim more frames than anyone would wait for: none is counted that cannot be there.
    most = min(frames, file_bytes // RECORD_BYTES)
    claimed = sum(1 for _ in islice(groups(head.entries, head.slice_elements), most + 1))
    if end or frames != claimed:
        raise WireError(f"the end says {end} and {frames} frames, which is not what the head says")
    bases = {entry.name: file.read(BASE_DIGEST_BYTES) for entry in head.based}
    return bases, file.read(CONTENT_DIGEST_BYTES)


def _read_record(file: BinaryIO, group: tuple[Piece, ...]) -> Record:
    (length,) = LENGTH.unpack(_take(file, LENGTH.size))
    modes = tuple(_mode(byte, piece) for byte, piece in zip(_take(file, len(group)), group, strict=True))
    expect = {piece.entry.name: travelling(piece.spec, mode) for piece, mode in zip(group, modes, strict=True)}
    most = sum(spec.nbytes for spec in expect.values()) + _FRAME_BYTES + _TENSOR_BYTES * len(group)
    if length > most:
        raise WireError(f"a frame of {length} bytes, at most {most}")
    message = loads(_take(file, length), expect)
    return Record(group, modes, message, LENGTH.size + len(group) + length)


def _mode(byte: int, piece: Piece) -> Mode:
    name = piece.entry.name
    if byte >= len(Mode):
        raise WireError(f"{quoted(name)}: mode {byte} is unknown")
    mode = Mode(byte)
    if mode is not Mode.WHOLE and not piece.based:
        raise WireError(f"{quoted(name)}: a difference to a base that has no such tensor")
    if mode is Mode.DIFFERENCE and not piece.spec.dtype.is_floating_point:
        raise WireError(f"{quoted(name)}: a rounded difference of {piece.spec.dtype}")
    return mode


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise WireError("the file is cut short")
    return data
