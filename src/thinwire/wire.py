"""The frame: a message as bytes, and back. docs/wire-format.md is the contract.

Bytes in: a message, or WireError and nothing else. The receiver's schema decides every allocation; the payload may only
agree with it. This module knows no codec: it walks the parts that `Codec.layout` describes.
"""

from __future__ import annotations

import hashlib
import math
import struct
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thinwire import registry
from thinwire.codec import VARIABLE, Codec, Encoded, Message, Spec, Specs, decode
from thinwire.errors import WireError
from thinwire.kernels.raw_bytes import raw_bytes

MAGIC, VERSION = b"TWIR", 1
_HEADER = struct.Struct("<4sBBHIIII16s")
_INLINE_SCHEMA = 1
_DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
_MAX_DEPTH = 4
_MAX_VARINT_BYTES = 6

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("thinwire frames are little-endian and this machine is not")


@dataclass(frozen=True)
class Limits:
    """What a receiver accepts. The defaults fit any model; lower them for small devices."""

    tensors: int = 65_536
    dims: int = 8
    name_bytes: int = 256
    header_bytes: int = 1 << 20
    decoded_bytes: int = 1 << 40


DEFAULT_LIMITS = Limits()
INLINE_LIMITS = Limits(decoded_bytes=1 << 32)
"""For frames that bring their own schema: nobody but this limit says how much memory decoding may take."""


def dumps(message: Mapping[str, Encoded], schema: bool = False) -> bytes:
    """Return the frame of a message: at most 64 bytes and 16 a tensor more than the payload.

    Names and shapes are not sent, only the hash of the schema, which the receiver must share; with ``schema=True`` they
    are, so that ``inspect`` and ``loads_any`` can read the frame alone.
    """
    table: dict[bytes, int] = {}
    records, leaves = bytearray(), []
    for encoded in message.values():
        description = describe(encoded.codec)
        records += _varint(table.setdefault(description, len(table)))
        _write_record(encoded, records)
        leaves += [_leaf_bytes(leaf) for leaf in encoded.leaves()]
    expected = {name: encoded.spec for name, encoded in message.items()}
    names = _dump_schema(expected) if schema else b""
    head = b"".join(table)
    flags = _INLINE_SCHEMA if schema else 0
    fixed = (MAGIC, VERSION, flags, len(table), len(message), len(head), len(names), len(records))
    header = _HEADER.pack(*fixed, schema_id(expected))
    content = b"".join([header, head, names, bytes(records), *leaves])
    return content + struct.pack("<I", zlib.crc32(content))


def loads(data: bytes, expect: Mapping[str, Spec], limits: Limits = DEFAULT_LIMITS) -> Message:
    """Return the message of a frame whose schema is exactly ``expect`` (names, order, shapes, dtypes).

    Raises WireError. Parts are checked for shape here and for content by ``decode``.
    """
    frame = _open(data, limits)
    if frame.schema != schema_id(expect):
        theirs, ours = frame.schema.hex()[:12], schema_id(expect).hex()[:12]
        raise WireError(
            f"the frame was made for another schema ({theirs}, expected {ours}): "
            "both ends must hold the same names, shapes and dtypes in the same order"
        )
    return _read(frame, expect, limits)


def loads_any(data: bytes, limits: Limits = INLINE_LIMITS) -> Message:
    """Return the message of a frame that carries its schema. Memory is bounded by ``limits.decoded_bytes`` alone."""
    frame = _open(data, limits)
    if not frame.names:
        raise WireError("the frame carries only the hash of its schema; use loads(data, expect)")
    expect = _load_schema(frame.names, limits)
    if frame.schema != schema_id(expect):
        raise WireError("the schema in the frame disagrees with its hash")
    return _read(frame, expect, limits)


def decode_message(message: Mapping[str, Encoded]) -> dict[str, Tensor]:
    """Return name -> decoded tensor. Raises WireError."""
    return {name: decode(encoded) for name, encoded in message.items()}


def schema_id(expect: Mapping[str, Spec]) -> bytes:
    """Return the 16-byte hash (BLAKE2b) of names, shapes and dtypes in order."""
    return hashlib.blake2b(_dump_schema(expect), digest_size=16).digest()


def describe(codec: Codec) -> bytes:
    """Return the bytes that name a codec and the fields that decoding needs: a tag, its fields, then its children."""
    out = bytearray([codec.tag])
    for name in codec.wire_fields:
        out += _varint(_field_to_int(codec, name))
    for inner in codec.children().values():
        out += describe(inner)
    return bytes(out)


@dataclass(frozen=True)
class Frame:
    """A frame cut into its sections, checksum verified, nothing decoded."""

    codecs: tuple[Codec, ...]
    tensors: int
    schema: bytes
    names: bytes
    records: bytes
    body: memoryview


def _open(data: bytes, limits: Limits) -> Frame:
    view = memoryview(data).toreadonly()
    if len(view) < _HEADER.size + 4:
        raise WireError(f"{len(view)} bytes are too few for a frame (at least {_HEADER.size + 4})")
    magic, version, flags, codecs, tensors, head, names, records, schema = _HEADER.unpack_from(view)
    if magic != MAGIC or version != VERSION:
        raise WireError(f"not a thinwire frame of version {VERSION}: it starts with {bytes(view[:5])!r}")
    if flags & ~_INLINE_SCHEMA or bool(flags & _INLINE_SCHEMA) != bool(names):
        raise WireError(f"unknown flags {flags:#x}")
    if head + names + records > limits.header_bytes or tensors > limits.tensors:
        raise WireError(f"{head + names + records} header bytes, {tensors} tensors: over the limit {limits}")
    if codecs > tensors:
        raise WireError(f"a table of {codecs} codecs for {tensors} tensors")
    body = _HEADER.size + head + names + records
    if body > len(view) - 4 or zlib.crc32(view[:-4]) != int.from_bytes(view[-4:], "little"):
        raise WireError("the checksum does not match: the frame is damaged or cut short")
    at = _HEADER.size
    table = _load_codecs(bytes(view[at : at + head]), codecs)
    inline = bytes(view[at + head : at + head + names])
    return Frame(table, tensors, schema, inline, bytes(view[at + head + names : body]), view[body:-4])


def _read(frame: Frame, expect: Mapping[str, Spec], limits: Limits) -> Message:
    if frame.tensors != len(expect):
        raise WireError(f"{frame.tensors} tensors, expected {len(expect)}")
    if sum(spec.nbytes for spec in expect.values()) > limits.decoded_bytes:
        raise WireError(f"the decoded message would be larger than {limits.decoded_bytes} bytes")
    records, body = _Reader(frame.records), _Body(frame.body)
    message = {name: _read_tensor(frame.codecs, spec, records, body) for name, spec in expect.items()}
    if records.left or body.left:
        raise WireError(f"{records.left} bytes of records and {body.left} of body are left over")
    return message


def _read_tensor(codecs: tuple[Codec, ...], spec: Spec, records: _Reader, body: _Body) -> Encoded:
    index = records.varint()
    if index >= len(codecs):
        raise WireError(f"codec {index} of a table of {len(codecs)}")
    return _read_parts(codecs[index], spec, records, body)


def _read_parts(codec: Codec, spec: Spec, records: _Reader, body: _Body) -> Encoded:
    if not (spec.dtype.is_floating_point or codec.lossless):
        raise WireError(f"{codec.id}: a lossy codec for {spec.dtype}")
    size = records.varint() if codec.sized else 0
    seed = int.from_bytes(records.take(4), "little") if codec.seeded else 0
    children = codec.children()
    parts: dict[str, Tensor | Encoded] = {}
    for name, part in codec.layout(spec, size).items():
        if name in children:
            parts[name] = _read_parts(children[name], part, records, body)
        else:
            length = records.varint() if part.shape == (VARIABLE,) else part.nbytes
            parts[name] = body.tensor(length, part)
    return Encoded(codec, spec, parts, seed, size)


def _write_record(encoded: Encoded, out: bytearray) -> None:
    if encoded.codec.sized:
        out += _varint(encoded.size)
    if encoded.codec.seeded:
        out += encoded.seed.to_bytes(4, "little")
    for name, part in encoded.codec.layout(encoded.spec, encoded.size).items():
        value = encoded.parts[name]
        if isinstance(value, Encoded):
            _write_record(value, out)
        elif part.shape == (VARIABLE,):
            out += _varint(value.numel())


def _leaf_bytes(leaf: Tensor) -> bytes:
    return raw_bytes(leaf).numpy().tobytes()


class _Reader:
    """Takes integers off the records, in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise WireError("the records are cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        value = 0
        for place in range(_MAX_VARINT_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if byte == 0 and place:
                    break
                return value
        raise WireError("an integer of the records is too long or has leading zeros")


class _Body:
    """Cuts leaf tensors off the body, in order. The bytes are copied: a message does not pin the frame."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def tensor(self, length: int, spec: Spec) -> Tensor:
        if length > self.left:
            raise WireError(f"a part of {length} bytes, {self.left} are left")
        piece = bytearray(self.data[self.at : self.at + length])
        self.at += length
        if spec.dtype == torch.bool and piece and max(piece) > 1:
            raise WireError("a bool is neither 0 nor 1")
        shape = (length,) if spec.shape == (VARIABLE,) else spec.shape
        flat = torch.frombuffer(piece, dtype=spec.dtype) if piece else torch.zeros(0, dtype=spec.dtype)
        return flat.reshape(shape)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _load_codecs(data: bytes, count: int) -> tuple[Codec, ...]:
    reader = _Reader(data)
    codecs = tuple(_load_codec(reader, 0) for _ in range(count))
    if reader.left:
        raise WireError(f"{reader.left} bytes are left over in the codec table")
    return codecs


def _load_codec(reader: _Reader, depth: int) -> Codec:
    tag = reader.take(1)[0]
    cls = registry.codec_for_tag(tag)
    if cls is None or depth > _MAX_DEPTH:
        raise WireError(f"unknown codec tag {tag}" if cls is None else "codecs are nested too deep")
    template = registry.template(cls)
    fields: dict[str, object] = {name: _field_from_int(cls, name, reader.varint()) for name in cls.wire_fields}
    fields |= {name: _load_codec(reader, depth + 1) for name in template.children()}
    try:
        return replace(template, **fields)  # type: ignore[type-var]
    except ValueError as error:
        raise WireError(f"{cls.id}: {error}") from None


def _field_to_int(codec: Codec, name: str) -> int:
    value, texts = getattr(codec, name), codec.choices.get(name, ())
    return texts.index(value) if isinstance(value, str) else int(value) + len(texts)


def _field_from_int(cls: type[Codec], name: str, value: int) -> object:
    texts = cls.choices.get(name, ())
    if value < len(texts):
        return texts[value]
    value -= len(texts)
    if isinstance(getattr(registry.template(cls), name), bool):
        if value > 1:
            raise WireError(f"{cls.id}: {name} is neither 0 nor 1")
        return bool(value)
    return value


def _dump_schema(expect: Mapping[str, Spec]) -> bytes:
    out = bytearray(len(expect).to_bytes(4, "little"))
    for name, spec in expect.items():
        raw = name.encode()
        if len(raw) > DEFAULT_LIMITS.name_bytes or len(spec.shape) > DEFAULT_LIMITS.dims:
            raise ValueError(
                f"tensor {name[:64]!r}: a name of {len(raw)} bytes or {len(spec.shape)} dimensions is too long"
            )
        if spec.dtype not in _DTYPES:
            raise ValueError(f"tensor {name!r} is {spec.dtype}; frames carry {', '.join(map(str, _DTYPES))}")
        out += struct.pack("<HBB", len(raw), _DTYPES.index(spec.dtype), len(spec.shape))
        out += raw + struct.pack(f"<{len(spec.shape)}Q", *spec.shape)
    return bytes(out)


def _load_schema(data: bytes, limits: Limits) -> Specs:
    reader, expect = _Reader(data), Specs()
    for _ in range(int.from_bytes(reader.take(4), "little")):
        length, dtype, dims = struct.unpack("<HBB", reader.take(4))
        if length > limits.name_bytes or dtype >= len(_DTYPES) or dims > limits.dims:
            raise WireError(f"schema: a name of {length} bytes, dtype {dtype} or {dims} dimensions is over the limits")
        name = _text(reader.take(length))
        if name in expect:
            raise WireError(f"schema: the name {name!r} comes twice")
        expect[name] = Spec(struct.unpack(f"<{dims}Q", reader.take(8 * dims)), _DTYPES[dtype])
        # Zeros hide the other sides from a sum of sizes, yet no library takes any side for an empty tensor.
        if math.prod(max(side, 1) for side in expect[name].shape) > limits.decoded_bytes:
            raise WireError(f"schema: the shape {expect[name].shape} is over the limit of {limits.decoded_bytes} bytes")
    if reader.left:
        raise WireError("schema: bytes are left over")
    return expect


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise WireError(f"schema: a name is not UTF-8: {raw[:32]!r}") from None


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
    frame = _open(data, limits)
    if expect is None and frame.names:
        expect = _load_schema(frame.names, limits)
    message = loads(data, expect, limits) if expect is not None else None
    texts = tuple(map(str, frame.codecs))
    return Inspection(len(data), len(data) - len(frame.body), texts, frame.tensors, frame.schema.hex(), message)
