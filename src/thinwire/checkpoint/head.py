"""The head of a packed file: which tensors it holds, and how they are cut. docs/checkpoints.md is the contract."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from thinwire.checkpoint.entries import CARRIERS, DTYPES, Entry
from thinwire.checkpoint.pieces import MOST_SLICE
from thinwire.codec import Spec
from thinwire.errors import CheckpointError, WireError
from thinwire.kernels import zstd
from thinwire.wire import Limits
from thinwire.wire.integers import Reader, varint
from thinwire.wire.schema import dump_schema, load_schema

MAGIC, VERSION = b"TWCP", 1
FIXED = struct.Struct("<4sBBHIII")
_ZSTD_LEVEL = 19
_RESERVED_NAME = "__metadata__"


@dataclass(frozen=True)
class Head:
    """All that both ends must agree on before the first frame."""

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    slice_elements: int

    @property
    def based(self) -> tuple[Entry, ...]:
        """The tensors that the base must have."""
        return tuple(entry for entry in self.entries if entry.based)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, dense."""
        return sum(entry.spec.nbytes for entry in self.entries)


def dump_head(head: Head, limits: Limits) -> bytes:
    """Return its bytes. Raises CheckpointError where a name, a shape or all of it is beyond what can be read."""
    try:
        schema = dump_schema({entry.name: entry.spec for entry in head.entries})
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    kinds = bytes(DTYPES.index(entry.dtype) << 1 | entry.based for entry in head.entries)
    texts = b"".join(_text(text) for pair in head.metadata.items() for text in pair)
    plain = varint(len(schema)) + schema + kinds + texts
    if len(head.entries) > limits.tensors or len(plain) > limits.header_bytes:
        raise CheckpointError(
            f"{len(head.entries)} tensors with {len(plain)} bytes of names, shapes and metadata: at most "
            f"{limits.tensors} and {limits.header_bytes}"
        )
    packed = zstd.compress(plain, _ZSTD_LEVEL)
    return FIXED.pack(MAGIC, VERSION, 0, 0, head.slice_elements, len(packed), len(plain)) + packed


def load_fixed(data: bytes, limits: Limits) -> tuple[int, int, int]:
    """Return slice, stored and plain bytes of the rest of the head. Raises WireError."""
    if len(data) < FIXED.size:
        raise WireError(f"{len(data)} bytes are too few for a packed checkpoint")
    magic, version, flags, reserved, most, stored, plain = FIXED.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise WireError(f"not a packed checkpoint of version {VERSION}: it starts with {data[:5]!r}")
    if flags or reserved or not 1 <= most <= MOST_SLICE:
        raise WireError(f"flags {flags:#x}, {reserved:#x} or a slice of {most} elements is unknown")
    if plain > limits.header_bytes or stored > plain + 64:
        raise WireError(f"a head of {plain} bytes in {stored}: over the limit of {limits.header_bytes}")
    return most, stored, plain


def load_head(packed: bytes, plain_bytes: int, slice_elements: int, limits: Limits) -> Head:
    """Return the head from its compressed part. Raises WireError."""
    plain = zstd.decompress(packed, plain_bytes)
    if len(plain) != plain_bytes:
        raise WireError(f"a head of {len(plain)} bytes, {plain_bytes} were announced")
    reader = Reader(plain)
    schema = load_schema(reader.take(reader.varint()), limits)
    if len(schema) > limits.tensors or _RESERVED_NAME in schema:
        raise WireError(f"{len(schema)} tensors, at most {limits.tensors}, and none is called {_RESERVED_NAME}")
    kinds = reader.take(len(schema))
    entries = tuple(_entry(name, schema[name], kind) for (name, kind) in zip(schema, kinds, strict=True))
    return Head(entries, dict(_pairs(reader)), slice_elements)


def _entry(name: str, spec: Spec, kind: int) -> Entry:
    place, based = divmod(kind, 2)
    if place >= len(DTYPES) or CARRIERS[DTYPES[place]] != spec.dtype:
        raise WireError(f"{name!r}: dtype {place} is unknown, or not carried by {spec.dtype}")
    return Entry(name, DTYPES[place], spec, bool(based))


def _text(text: str) -> bytes:
    raw = text.encode()
    return varint(len(raw)) + raw


def _pairs(reader: Reader) -> Iterator[tuple[str, str]]:
    while reader.left:
        try:
            yield reader.take(reader.varint()).decode(), reader.take(reader.varint()).decode()
        except UnicodeDecodeError:
            raise WireError("a text of the metadata is not UTF-8") from None
