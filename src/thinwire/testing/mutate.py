"""Edits of a frame: of its header, its sections, its records and its parts. The checksum is always made right again."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import torch
from torch import Tensor

from thinwire import wire
from thinwire.codec import Encoded, Message, Specs
from thinwire.errors import WireError
from thinwire.kernels import zstd
from thinwire.kernels.raw_bytes import raw_bytes
from thinwire.testing.slow import cuts

LIMITS = wire.Limits(tensors=64, decoded_bytes=1 << 20)
_HEADER = struct.Struct("<4sBBHIIII16s")
_WORDS = (
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff",
    b"\0\0\x80\xbf", b"\xff\xff\x7f\x7f", b"\1\0\0\0", b"\0\0\0\x80", bytes(8), b"\xff" * 8, bytes(6) + b"\xf8\x7f",
    bytes(6) + b"\xf0\x7f",
)  # fmt: skip
"""Extremes, NaN, infinities and minus one, as little-endian integers and floats of 4 and 8 bytes."""
_FILL = (0, 1, 2, 3, 4, 5, 8, 127, 128, 255)
_BOMB = zstd.compress(bytes(1 << 22), 19)


@dataclass(frozen=True)
class Sample:
    """A frame and the schema that its receiver holds; None where the frame brings its own."""

    data: bytes
    expect: Specs | None

    @property
    def schema_bytes(self) -> int:
        """Bytes of the schema that decide what is decoded: the tensors, dense, and their names and shapes."""
        expect = self.expect if self.expect is not None else _inline(self.data)
        return sum(spec.nbytes for spec in expect.values()) + len(wire.dump_schema(expect))

    def read(self) -> Message:
        """Return the message, as a receiver reads it. Raises WireError."""
        return wire.loads_any(self.data, LIMITS) if self.expect is None else wire.loads(self.data, self.expect)


@dataclass(frozen=True)
class _Sections:
    header: tuple[object, ...]
    sections: tuple[bytes, bytes, bytes, bytes]
    """Codec table, inline schema, records, body."""


def mutant(rng: Random, samples: Sequence[Sample]) -> Sample:
    """Return one of the samples after one to four random edits."""
    sample = rng.choice(samples)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        sample = replace(sample, data=rng.choice(_EDITS)(rng, sample, rng.choice(samples)))
    return sample


def smaller(sample: Sample) -> Iterator[Sample]:
    """Yield the sample with less in one of its sections, as `slow.cuts` cuts it."""
    opened = _open(sample.data)
    if opened is None:
        return
    for which, section in enumerate(opened.sections):
        for cut in cuts(section):
            sections = [cut if place == which else old for place, old in enumerate(opened.sections)]
            yield replace(sample, data=_sealed(opened.header, sections))


def _open(data: bytes) -> _Sections | None:
    """Return the sections, or None where earlier edits left no frame to take apart."""
    if len(data) < _HEADER.size + 4:
        return None
    header = _HEADER.unpack_from(data)
    ends = [_HEADER.size]
    for length in header[5:8]:
        ends.append(min(ends[-1] + length, len(data) - 4))
    ends.append(len(data) - 4)
    head, names, records, body = (data[a:b] for a, b in pairwise(ends))
    return _Sections(header, (head, names, records, body))


def _inline(data: bytes) -> Specs:
    """Return the schema in a frame, or an empty one where a receiver refuses it."""
    opened = _open(data)
    try:
        return wire.load_schema(opened.sections[1], LIMITS) if opened is not None else Specs()
    except WireError:
        return Specs()


def _sealed(header: tuple[object, ...], sections: Sequence[bytes], honest: bool = True) -> bytes:
    if honest:
        header = (*header[:5], *(len(section) for section in sections[:3]), header[8])
    content = _HEADER.pack(*header) + b"".join(sections)
    return content + struct.pack("<I", zlib.crc32(content))


def _edit_bytes(rng: Random, data: bytes) -> bytes:
    """Return the bytes with one place flipped, replaced, removed, doubled, filled or cut."""
    at = rng.randrange(len(data) + 1)
    span = rng.choice((1, 1, 2, 4, 8, rng.randrange(64)))
    middle = data[at : at + span]
    changed = rng.choice(
        (
            bytes(b ^ 1 << rng.randrange(8) for b in middle[:1]) + middle[1:],
            bytes(rng.randrange(256) for _ in middle),
            b"",
            middle * 2,
            rng.choice(_WORDS),
            bytes([rng.choice(_FILL)]) * len(middle),
        )
    )
    return data[:at] if rng.random() < 0.05 else data[:at] + changed + data[at + span :]


def _a_section(rng: Random, sample: Sample, other: Sample) -> bytes:
    opened = _open(sample.data)
    if opened is None:
        return sample.data
    sections = list(opened.sections)
    which = rng.choice([i for i, section in enumerate(sections) if section] or [3])
    sections[which] = _edit_bytes(rng, sections[which])
    return _sealed(opened.header, sections)


def _the_header(rng: Random, sample: Sample, other: Sample) -> bytes:
    opened = _open(sample.data)
    if opened is None:
        return sample.data
    header, which = list(opened.header), rng.randrange(1, 8)
    most = 255 if which < 3 else 65535 if which == 3 else 2**32 - 1
    value = int(str(header[which]))
    header[which] = rng.choice((0, 1, value + 1, max(value - 1, 0), value * 2, most, rng.randrange(most + 1))) & most
    return _sealed(tuple(header), opened.sections, honest=False)


def _a_record(rng: Random, sample: Sample, other: Sample) -> bytes:
    opened = _open(sample.data)
    if opened is None or not opened.sections[2]:
        return sample.data
    head, names, records, body = opened.sections
    pieces = re.findall(rb"[\x80-\xff]*[\x00-\x7f]", records) or [b"\0"]
    which = rng.randrange(len(pieces))
    old = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(pieces[which][:6]))
    new = rng.choice((0, 1, old + 1, max(old - 1, 0), old * 2, old + 128, 1 << rng.randrange(42), rng.randrange(300)))
    return _sealed(opened.header, (head, names, b"".join([*pieces[:which], _varint(new), *pieces[which + 1 :]]), body))


def _a_splice(rng: Random, sample: Sample, other: Sample) -> bytes:
    """Take one section from another frame, as if two messages had been mixed up."""
    mine, theirs = _open(sample.data), _open(other.data)
    if mine is None or theirs is None:
        return sample.data
    which = rng.choice((0, 0, 2, 3))
    sections = [b if i == which else a for i, (a, b) in enumerate(zip(mine.sections, theirs.sections, strict=True))]
    codecs = theirs.header[3] if which == 0 else mine.header[3]
    return _sealed((*mine.header[:3], codecs, *mine.header[4:]), sections)


def _a_part(rng: Random, sample: Sample, other: Sample) -> bytes:
    """Change the content, size or seed of one part and write the frame anew, so that only decoding can object."""
    try:
        message = sample.read()
        name = rng.choice(list(message))
        message[name] = _changed(rng, message[name])
        return wire.dumps(message, schema=sample.expect is None)
    except (WireError, IndexError, OverflowError):
        return sample.data


def _changed(rng: Random, encoded: Encoded) -> Encoded:
    if encoded.codec.sized and rng.random() < 0.1:
        return replace(encoded, size=rng.choice((0, 1, encoded.size + 1, max(encoded.size - 1, 0), encoded.spec.numel)))
    if encoded.codec.seeded and rng.random() < 0.2:
        return replace(encoded, seed=rng.randrange(1 << 32))
    name = rng.choice(list(encoded.parts))
    part = encoded.parts[name]
    new = _changed(rng, part) if isinstance(part, Encoded) else _changed_leaf(rng, part)
    return replace(encoded, parts={**encoded.parts, name: new})


def _changed_leaf(rng: Random, leaf: Tensor) -> Tensor:
    data = raw_bytes(leaf).numpy().tobytes()
    new = _BOMB if rng.random() < 0.02 else _rezipped(rng, data) if rng.random() < 0.3 else _edit_bytes(rng, data)
    return torch.frombuffer(bytearray(new), dtype=torch.uint8) if new else torch.zeros(0, dtype=torch.uint8)


def _rezipped(rng: Random, data: bytes) -> bytes:
    """Edit what zstd packed, where the leaf is a zstd frame (after up to one byte of mode): deeper decoders see it."""
    for start in (0, 1):
        try:
            content = zstd.decompress(data[start:], 1 << 20)
        except WireError:
            continue
        return data[:start] + zstd.compress(_edit_bytes(rng, content))
    return _edit_bytes(rng, data)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


_EDITS: tuple[Callable[[Random, Sample, Sample], bytes], ...] = (
    _a_section, _a_section, _the_header, _a_record, _a_record, _a_splice, _a_part, _a_part, _a_part, _a_part,
)  # fmt: skip
