"""The head of a packed file: which tensors it holds, and how they are cut. docs/checkpoints.md is the contract.

Version 1 says names, shapes and dtypes, from which follows the header that the safetensors library writes. Version 2
holds the header itself, for files that have another, and says of each tensor how much of it the base has.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from thinwire.checkpoint.entries import METADATA, MOST_TEXTS, PLACES, Entry
from thinwire.checkpoint.header import BadHeader, header_text, parse_header
from thinwire.checkpoint.pieces import MOST_SLICE
from thinwire.codec import Spec
from thinwire.errors import CheckpointError, WireError, quoted
from thinwire.kernels import zstd
from thinwire.wire import Limits
from thinwire.wire.integers import Reader, varint
from thinwire.wire.schema import dump_schema, load_schema

MAGIC, VERSIONS = b"TWCP", (1, 2)
FIXED = struct.Struct("<4sBBHIII")
_ZSTD_LEVEL = 19
_FREE_BYTES, _MOST_RATIO = 1 << 20, 1024


@dataclass(frozen=True)
class Head:
    """All that both ends must agree on before the first frame."""

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    slice_elements: int
    verbatim: bytes = b""
    """The safetensors header, where it does not follow from entries and metadata."""

    @cached_property
    def based(self) -> tuple[Entry, ...]:
        """The tensors that the base must have."""
        return tuple(entry for entry in self.entries if entry.based)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all tensors, dense."""
        return sum(entry.spec.nbytes for entry in self.entries)

    @property
    def header(self) -> bytes:
        """The header of the safetensors file, the eight bytes of its length left out."""
        return self.verbatim or header_text(self.entries, self.metadata)


def head_of(entries: tuple[Entry, ...], metadata: Mapping[str, str], text: bytes, slice_elements: int) -> Head:
    """Return the head of a file whose safetensors header is ``text``: without it, where it follows from the rest."""
    plain = all(entry.overlap is None and entry.said_shape is None for entry in entries)
    follows = plain and text == header_text(entries, metadata)
    return Head(entries, metadata, slice_elements, b"" if follows else text)


def dump_head(head: Head, limits: Limits) -> bytes:
    """Return its bytes. Raises CheckpointError where a name, a shape or all of it is beyond what can be read."""
    try:
        # Frames say these as well: what no schema can say cannot be packed, whatever the version.
        schema = dump_schema({entry.name: entry.spec for entry in head.entries})
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    if head.verbatim:
        based = b"".join(varint(1 + entry.based_elements if entry.based else 0) for entry in head.entries)
        plain, version = varint(len(head.verbatim)) + head.verbatim + based, 2
    else:
        kinds = bytes(PLACES.index((entry.dtype, entry.spec.dtype)) << 1 | entry.based for entry in head.entries)
        pairs = b"".join(_text(text) for pair in head.metadata.items() for text in pair)
        plain, version = varint(len(schema)) + schema + kinds + pairs, 1
    tensors, texts = len(head.entries), len(head.metadata)
    if tensors > limits.tensors or texts > MOST_TEXTS or len(plain) > limits.header_bytes:
        raise CheckpointError(
            f"{tensors} tensors and {texts} texts of metadata in {len(plain)} bytes: at most {limits.tensors} and "
            f"{MOST_TEXTS} in {limits.header_bytes} bytes are taken"
        )
    packed = zstd.compress(plain, _ZSTD_LEVEL)
    if _swells(len(packed), len(plain)):
        raise CheckpointError(
            f"{len(plain)} bytes of names and metadata become {len(packed)}, which no reader takes: at most "
            f"{_MOST_RATIO} times smaller; remove the metadata that repeats itself"
        )
    return FIXED.pack(MAGIC, version, 0, 0, head.slice_elements, len(packed), len(plain)) + packed


@dataclass(frozen=True)
class Fixed:
    """What the first bytes of a file say."""

    version: int
    slice_elements: int
    stored_bytes: int
    plain_bytes: int


def load_fixed(data: bytes, limits: Limits) -> Fixed:
    """Return how to read the rest of the head. Raises WireError."""
    if len(data) < FIXED.size:
        raise WireError(f"{len(data)} bytes are too few for a packed checkpoint")
    magic, version, flags, reserved, most, stored, plain = FIXED.unpack_from(data)
    if magic != MAGIC or version not in VERSIONS:
        raise WireError(f"not a packed checkpoint of version {VERSIONS[0]} to {VERSIONS[-1]}: begins with {data[:5]!r}")
    if flags or reserved or not 1 <= most <= MOST_SLICE:
        raise WireError(f"flags {flags:#x}, {reserved:#x} or a slice of {most} elements is unknown")
    if plain > limits.header_bytes or stored > plain + 64 or _swells(stored, plain):
        raise WireError(f"a head of {plain} bytes in {stored}: over the limit of {limits.header_bytes}")
    return Fixed(version, most, stored, plain)


def load_head(packed: bytes, fixed: Fixed, limits: Limits) -> Head:
    """Return the head from its compressed part. Raises WireError."""
    plain = zstd.decompress(packed, fixed.plain_bytes)
    if len(plain) != fixed.plain_bytes:
        raise WireError(f"a head of {len(plain)} bytes, {fixed.plain_bytes} were announced")
    reader = Reader(plain)
    return (_load_said if fixed.version == 1 else _load_verbatim)(reader, fixed.slice_elements, limits)


def _swells(stored: int, plain: int) -> bool:
    """Say whether so few bytes stand for so many that work would not follow the bytes of the file."""
    return plain > _FREE_BYTES + _MOST_RATIO * stored


def _load_said(reader: Reader, slice_elements: int, limits: Limits) -> Head:
    data = reader.take(reader.varint())
    # Counted first: whoever reads all of the names to find that they are too many has done the work.
    if int.from_bytes(data[:4], "little") > limits.tensors:
        raise WireError(f"{int.from_bytes(data[:4], 'little')} tensors, at most {limits.tensors}")
    schema = load_schema(data, limits)
    if METADATA in schema:
        raise WireError(f"a tensor is called {METADATA}")
    kinds = reader.take(len(schema))
    entries = tuple(_entry(name, schema[name], kind) for (name, kind) in zip(schema, kinds, strict=True))
    return Head(entries, _texts(reader.take(reader.left)), slice_elements)


def _load_verbatim(reader: Reader, slice_elements: int, limits: Limits) -> Head:
    text = reader.take(reader.varint())
    try:
        header = parse_header(text, limits.tensors)
    except BadHeader as error:
        raise WireError(str(error)) from None
    entries = tuple(_marked(entry, reader.varint()) for entry in header.entries)
    if reader.left:
        raise WireError(f"{reader.left} bytes are left over in the head")
    return Head(entries, header.metadata, slice_elements, text)


def _entry(name: str, spec: Spec, kind: int) -> Entry:
    place, based = divmod(kind, 2)
    if place >= len(PLACES) or PLACES[place][1] != spec.dtype:
        raise WireError(f"{quoted(name)}: dtype {place} is unknown, or not carried by {spec.dtype}")
    return Entry(name, PLACES[place][0], spec, bool(based))


def _marked(entry: Entry, said: int) -> Entry:
    """Return an entry with what a file of version 2 says of the base: 0 nothing, else 1 + leading elements."""
    elements, shape = said - 1, entry.spec.shape
    if elements < 0:
        return entry
    if elements == entry.spec.numel:
        return replace(entry, based=True)
    if not 0 < elements < entry.spec.numel or elements % math.prod(shape[1:]):
        raise WireError(f"{quoted(entry.name)}: {elements} elements of the base are no rows of {list(shape)}")
    return replace(entry, based=True, overlap=elements)


def _text(text: str) -> bytes:
    raw = text.encode()
    return varint(len(raw)) + raw


def _texts(data: bytes) -> dict[str, str]:
    """Return the metadata. No key comes twice: a few bytes may stand for millions of pairs that are all alike."""
    texts: dict[str, str] = {}
    for key, value in _pairs(Reader(data)):
        if key in texts or len(texts) == MOST_TEXTS:
            raise WireError(f"the metadata {quoted(key)} comes twice, or is one of more than {MOST_TEXTS}")
        texts[key] = value
    return texts


def _pairs(reader: Reader) -> Iterator[tuple[str, str]]:
    while reader.left:
        try:
            yield reader.take(reader.varint()).decode(), reader.take(reader.varint()).decode()
        except UnicodeDecodeError:
            raise WireError("a text of the metadata is not UTF-8") from None
