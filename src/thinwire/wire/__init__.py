"""The frame: a message as bytes, and back. docs/wire-format.md is the contract.

Bytes in: a message, or WireError and nothing else. The receiver's schema decides every allocation; the payload may only
agree with it. This package knows no codec: it walks the parts that `Codec.layout` describes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Encoded, Message, Spec, Specs, decode
from thinwire.errors import WireError
from thinwire.kernels.raw_bytes import raw_bytes
from thinwire.wire.fits import first_refusal, refusal, split_specs
from thinwire.wire.frame import (
    CHECKSUM_BYTES,
    HEADER,
    INLINE_SCHEMA,
    MAGIC,
    MOST_CODECS,
    VERSION,
    Frame,
    open_frame,
)
from thinwire.wire.integers import Reader, varint
from thinwire.wire.limits import DEFAULT_LIMITS, INLINE_LIMITS, Limits
from thinwire.wire.records import Body, read_tensor, write_record
from thinwire.wire.schema import dump_schema, hash_of, load_schema, schema_id
from thinwire.wire.table import Table, describe, load_codecs, shown

__all__ = [
    "DEFAULT_LIMITS",
    "FRAME_BYTES",
    "INLINE_LIMITS",
    "TENSOR_BYTES",
    "Inspection",
    "Limits",
    "decode_message",
    "dump_schema",
    "dumps",
    "frame_bytes",
    "inspect",
    "load_schema",
    "loads",
    "loads_any",
    "record_bytes",
    "refusal",
    "schema_id",
    "shown",
    "split_specs",
]

FRAME_BYTES, TENSOR_BYTES = 64, 16
"""At most what a frame adds to its payload, and to that for every tensor: the law of the format."""


def dumps(message: Mapping[str, Encoded], schema: bool = False, limits: Limits | None = None) -> bytes:
    """Return the frame of a message: at most 64 bytes and 16 a tensor more than the payload.

    Names and shapes are not sent, only the hash of the schema, which the receiver must share; with ``schema=True`` they
    are, so that ``inspect`` and ``loads_any`` can read the frame alone. ``limits`` are those of the receiver: by default
    what ``loads``, or with a schema ``loads_any``, takes. Raises ValueError where the frame would be over them;
    ``split_specs`` tells ahead.
    """
    limits = limits or (INLINE_LIMITS if schema else DEFAULT_LIMITS)
    expected = {name: encoded.spec for name, encoded in message.items()}
    if (why := first_refusal(expected, limits)) is not None:
        raise ValueError(why)
    table, records = _described(message)
    leaves = [raw_bytes(leaf).numpy().data for encoded in message.values() for leaf in encoded.leaves()]
    told = dump_schema(expected, limits)
    head, names = b"".join(table), told if schema else b""
    _check_sizes(len(table), len(head) + len(names) + len(records), limits.header_bytes_of(len(message)))
    flags = INLINE_SCHEMA if schema else 0
    fixed = (MAGIC, VERSION, flags, len(table), len(message), len(head), len(names), len(records))
    header = HEADER.pack(*fixed, hash_of(told))
    pieces: list[bytes | bytearray | memoryview] = [header, head, names, records, *leaves]
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return b"".join([*pieces, struct.pack("<I", checksum)])


def _check_sizes(codecs: int, header_bytes: int, most_bytes: int) -> None:
    if codecs > MOST_CODECS or header_bytes > most_bytes:
        raise ValueError(
            f"{codecs} different codecs and {header_bytes} bytes of codecs, names and records; a frame has at most "
            f"{MOST_CODECS} and {most_bytes}: send the tensors in two messages"
        )


def frame_bytes(message: Mapping[str, Encoded]) -> int:
    """Return ``len(dumps(message))`` without making the frame."""
    table, records = _described(message)
    payload = sum(encoded.payload_bytes for encoded in message.values())
    return HEADER.size + sum(map(len, table)) + len(records) + payload + CHECKSUM_BYTES


def record_bytes(encoded: Encoded) -> int:
    """Return what a frame adds to a tensor's payload, its share of the table of codecs aside: a byte or two at most."""
    record = bytearray()
    write_record(encoded, record)
    return 1 + len(record)


def _described(message: Mapping[str, Encoded]) -> tuple[dict[bytes, int], bytearray]:
    """Return the table of codecs, each with its place, and the records of all tensors."""
    table: dict[bytes, int] = {}
    records = bytearray()
    for encoded in message.values():
        description = describe(encoded.codec)
        records += varint(table.setdefault(description, len(table)))
        write_record(encoded, records)
    return table, records


def loads(data: bytes, expect: Mapping[str, Spec], limits: Limits = DEFAULT_LIMITS) -> Message:
    """Return the message of a frame whose schema is exactly ``expect`` (names, order, shapes, dtypes).

    Raises WireError. Parts are checked for shape here and for content by ``decode``.
    """
    frame = open_frame(data, limits)
    if (why := first_refusal(expect, limits)) is not None:
        raise WireError(f"the expected schema is over the receiver's own limits: {why}")
    _check_schema(frame.schema, schema_id(expect, limits))
    return _read(frame, expect)


def loads_any(data: bytes, limits: Limits = INLINE_LIMITS) -> Message:
    """Return the message of a frame that carries its schema. Memory is bounded by ``limits.decoded_bytes`` alone."""
    frame = open_frame(data, limits)
    if not frame.names:
        raise WireError("the frame carries only the hash of its schema; use loads(data, expect)")
    return _read(frame, _inline_schema(frame, limits))


def _inline_schema(frame: Frame, limits: Limits) -> Specs:
    expect = load_schema(frame.names, limits)
    if frame.schema != hash_of(frame.names):
        raise WireError("the schema in the frame disagrees with its hash")
    return expect


def _check_schema(theirs: bytes, ours: bytes) -> None:
    if theirs != ours:
        raise WireError(
            f"the frame was made for another schema ({theirs.hex()[:12]}, expected {ours.hex()[:12]}): "
            "both ends must hold the same names, shapes and dtypes in the same order"
        )


def decode_message(message: Mapping[str, Encoded]) -> dict[str, Tensor]:
    """Return name -> decoded tensor. Raises WireError."""
    return {name: decode(encoded) for name, encoded in message.items()}


@dataclass(frozen=True)
class Inspection:
    """What a frame says about itself, without decoding it."""

    frame_bytes: int
    overhead_bytes: int
    codecs: tuple[str, ...]
    tensors: int
    schema: str
    message: Message | None
    """None where the frame carries only the hash of its schema and no schema was given."""


def inspect(data: bytes, expect: Mapping[str, Spec] | None = None, limits: Limits = DEFAULT_LIMITS) -> Inspection:
    """Return what a frame holds: codecs always; tensor by tensor with its own or the given schema. Raises WireError."""
    frame = open_frame(data, limits)
    if expect is None and frame.names:
        expect = _inline_schema(frame, limits)
    message = loads(data, expect, limits) if expect is not None else None
    texts = tuple(map(shown, load_codecs(frame.table, frame.codecs)))
    return Inspection(len(data), len(data) - len(frame.body), texts, frame.tensors, frame.schema.hex(), message)


def _read(frame: Frame, expect: Mapping[str, Spec]) -> Message:
    if frame.tensors != len(expect):
        raise WireError(f"{frame.tensors} tensors, expected {len(expect)}")
    table, records, body = Table(frame.table, frame.codecs), Reader(frame.records), Body(frame.body)
    message = {name: read_tensor(table, spec, records, body) for name, spec in expect.items()}
    table.end()
    if records.left or body.left:
        raise WireError(f"{records.left} bytes of records and {body.left} of body are left over")
    return message
