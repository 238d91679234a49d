"""The frame around it all: header, sections, checksum."""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import dataclass

from thinwire.errors import WireError
from thinwire.wire.limits import Limits

MAGIC, VERSION = b"TWIR", 1
HEADER = struct.Struct("<4sBBHIIII16s")
CHECKSUM_BYTES = 4
INLINE_SCHEMA = 1
MOST_CODECS = 2**16 - 1

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("thinwire frames are little-endian and this machine is not")


@dataclass(frozen=True)
class Frame:
    """A frame cut into its sections, checksum verified, nothing read of them yet."""

    codecs: int
    table: bytes
    tensors: int
    schema: bytes
    names: bytes
    records: bytes
    body: memoryview


def open_frame(data: bytes, limits: Limits) -> Frame:
    """Check header, limits and checksum, in that order, and cut the frame. Raises WireError; decodes nothing."""
    view = memoryview(data).toreadonly()
    if len(view) < HEADER.size + 4:
        raise WireError(f"{len(view)} bytes are too few for a frame (at least {HEADER.size + 4})")
    magic, version, flags, codecs, tensors, head, names, records, schema = HEADER.unpack_from(view)
    if magic != MAGIC or version != VERSION:
        raise WireError(f"not a thinwire frame of version {VERSION}: it starts with {bytes(view[:5])!r}")
    if flags & ~INLINE_SCHEMA or bool(flags & INLINE_SCHEMA) != bool(names):
        raise WireError(f"unknown flags {flags:#x}")
    if tensors > limits.tensors or head + names + records > limits.header_bytes_of(tensors):
        raise WireError(f"{head + names + records} header bytes, {tensors} tensors: over the limit {limits}")
    if codecs > tensors:
        raise WireError(f"a table of {codecs} codecs for {tensors} tensors")
    body = HEADER.size + head + names + records
    if body > len(view) - 4 or zlib.crc32(view[:-4]) != int.from_bytes(view[-4:], "little"):
        raise WireError("the checksum does not match: the frame is damaged or cut short")
    at = HEADER.size
    table, inline = bytes(view[at : at + head]), bytes(view[at + head : at + head + names])
    return Frame(codecs, table, tensors, schema, inline, bytes(view[at + head + names : body]), view[body:-4])
