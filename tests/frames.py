"""Frames put together by hand, byte by byte, as docs/wire-format.md says: what no encoder would write."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import torch

from thinwire import wire
from thinwire.codec import Spec
from thinwire.wire import schema

HEADER = struct.Struct("<4sBBHIIII16s")
FIELDS = ("magic", "version", "flags", "codecs", "tensors", "head", "names", "records", "schema")

RAW, CAST, PLANES, UNIFORM, STEP, ZSTD = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x09"
TOPK, RANDOMK, THRESHOLD, LOWRANK = b"\x14", b"\x15", b"\x16", b"\x18"
INDICES, ANS, RDOQ = b"\x10", b"\x12", b"\x06" + RAW
CHUNKS = b"\x08"
AFFINE8, SYMMETRIC8 = UNIFORM + b"\x08\0\0" + RAW, UNIFORM + b"\x08\x01\0" + RAW
SIGN, ONEBIT, TERNARY, NATURAL = (tag + RAW for tag in (b"\x19\0", b"\x1a\0", b"\x1b\0", b"\x1c"))
BITROUND = b"\x1d\x07" + RAW
EDEN, NF4, RANGES = b"\x20\4\0\0\x80\x20", b"\x21\x42" + RAW, b"\x22\3\x02" + RAW
QSGD = b"\x23\0" + RAW
SEGMENTS = b"\x24\x08\0" + RAW + RAW
FLOATS = Spec((10,), torch.float32)
ONES = torch.ones(10).numpy().tobytes()


def sealed(content: bytes) -> bytes:
    """Return the content with its checksum."""
    return content + struct.pack("<I", zlib.crc32(content))


def resealed(data: bytes, **fields: Any) -> bytes:
    """Return the frame with header fields replaced and the checksum made right again."""
    values = dict(zip(FIELDS, HEADER.unpack_from(data), strict=True)) | fields
    return sealed(HEADER.pack(*values.values()) + data[HEADER.size : -4])


def frame(table: bytes, records: bytes, body: bytes, spec: Spec = FLOATS, inline: bool = False) -> bytes:
    """Return a frame of one tensor "x"."""
    names = listed(entry(b"x", schema.DTYPES.index(spec.dtype), *spec.shape)) if inline else b""
    return described(names, table, records, body, wire.schema_id({"x": spec}))


def described(
    names: bytes, table: bytes = RAW, records: bytes = b"\0", body: bytes = ONES, schema: bytes = bytes(16)
) -> bytes:
    """Return a frame of one tensor with any bytes as its inline schema."""
    fixed = (b"TWIR", 1, int(bool(names)), 1, 1, len(table), len(names), len(records), schema)
    return sealed(HEADER.pack(*fixed) + table + names + records + body)


def entry(name: bytes, dtype: int, *shape: int) -> bytes:
    """Return one tensor of an inline schema."""
    return struct.pack("<HBB", len(name), dtype, len(shape)) + name + struct.pack(f"<{len(shape)}Q", *shape)


def listed(*entries: bytes, count: int | None = None) -> bytes:
    """Return an inline schema; ``count`` may lie."""
    return (len(entries) if count is None else count).to_bytes(4, "little") + b"".join(entries)


def varint(value: int) -> bytes:
    head, last = [], value
    while last >= 0x80:
        head.append(last & 0x7F | 0x80)
        last >>= 7
    return bytes([*head, last])


def f32(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def repeated(blocks: int) -> bytes:
    """Return one zstd frame (without magic) of blocks that repeat a byte: 4 bytes for 128 KiB each."""
    block = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    last = (1 | 1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    return b"\x00\x58" + block * (blocks - 1) + last


def windowed(window: int) -> bytes:
    """Return one zstd frame (without magic) of 40 zeros that asks for a window of 2**window bytes."""
    return b"\x00" + bytes([window - 10 << 3]) + (1 | 1 << 1 | 40 << 3).to_bytes(3, "little") + b"\0"
