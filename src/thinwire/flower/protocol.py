"""What server and clients send each other: packages down, replies up. All integers are little-endian; lists are
counted by a varint (``wire/integers.py``).

    package:  "TWDN" | version u8 | flags u8 | session u32 | sequence u32 | lineage u32 | base 16 bytes
              | target 32 bytes | keep: ids of 16 bytes | verbatim: gaps | alone: gaps | exact: gaps
              | others: (position, name) | instructions | checksum u32 | frame
    reply:    "TWUP" | version u8 | flags u8 | session u32 | sequence u32 | nmse f32 | encode seconds f32
              | decode seconds f32 | scale f32 | verbatim: gaps | alone: gaps | others: (position, name)
              | record | checksum u32 | frame

The checksum is the CRC-32 of all bytes before it; frames, which are ordinary thinwire frames, have their own. A package
takes a client from a reference that it holds, or from nothing, to the model of a message. One without a frame is a
model that the client holds already. Every message to a node has a number of its own (``sequence``), and names the fate
of the replies to earlier ones. Versions 1 to 3 had chains of steps, keyframes, and one reply in flight.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from thinwire.codec import specs
from thinwire.errors import WireError
from thinwire.wire import schema_id
from thinwire.wire.integers import Reader, varint

VERSION = 4
_DOWN = struct.Struct("<4sBBIII16s32s")
_UP = struct.Struct("<4sBBIIffff")
_FIXED = struct.Struct("<iiff")
_FATE = struct.Struct("<IBf")
ID_BYTES = 16
NOTHING = bytes(ID_BYTES)
"""The base of a package for a client that holds nothing."""
UNTYPED, STATELESS, ALL_EXACT = 1, 2, 4
"""Flags: arrays say neither dtype nor shape (Flower's older API); the client keeps nothing between messages; the client
receives exactly the server's values."""
MOST_LOSSES = 4096
"""A client that was away for longer is told of the newest ones."""
Others = tuple[tuple[int, str], ...]


class Outcome(IntEnum):
    """What became of the reply to a message."""

    WAITING = 0
    TAKEN = 1
    LOST = 2


@dataclass(frozen=True)
class Fate:
    """What became of the reply to one message; ``seconds`` from sending it until then, -1: not known."""

    sequence: int
    outcome: Outcome
    seconds: float = -1.0


@dataclass(frozen=True)
class Instructions:
    """How a client should answer, and the signals that policies follow."""

    uplink: str
    """How to compress the reply: text for ``thinwire.zoo.compressor``."""
    round: int
    rounds: int = 0
    """0: not known."""
    volume_quantile: float = -1.0
    """This client's place among the round's clients by data size, in (0, 1]; -1: not known."""
    importance: float = -1.0
    """This client's factor on the levels of its reply (``Signals.importance``); -1: not known."""
    exact: str = ""
    """Patterns of names, separated by spaces: these tensors travel losslessly."""
    fates: tuple[Fate, ...] = ()
    """What became of the replies to this client's newest messages."""
    losses: tuple[float | None, ...] = ()
    """Training losses of the last rounds, the newest last: those of which this client's state knows nothing yet."""

    def dumps(self) -> bytes:
        """Return the bytes."""
        out = bytearray(_FIXED.pack(self.round, self.rounds, self.volume_quantile, self.importance))
        out += varint(len(self.fates)) + b"".join(_FATE.pack(f.sequence, f.outcome, f.seconds) for f in self.fates)
        losses = [math.nan if loss is None else loss for loss in self.losses]
        out += varint(len(losses)) + struct.pack(f"<{len(losses)}d", *losses)
        return bytes(out + _text(self.uplink) + _text(self.exact))

    @classmethod
    def read(cls, reader: Reader) -> Instructions:
        """Read instructions. Raises WireError."""
        round_, rounds, quantile, importance = _FIXED.unpack(reader.take(_FIXED.size))
        fates = tuple(_fate(reader) for _ in range(reader.varint()))
        count = reader.varint()
        if count > MOST_LOSSES:
            raise WireError(f"the instructions tell of {count} losses, expected at most {MOST_LOSSES}")
        losses = struct.unpack(f"<{count}d", reader.take(8 * count))
        signals = (quantile, importance, *(fate.seconds for fate in fates))
        if not all(map(math.isfinite, signals)):
            raise WireError(f"the instructions say {signals}, expected finite numbers")
        known = tuple(loss if math.isfinite(loss) else None for loss in losses)
        uplink, exact = _read_text(reader), _read_text(reader)
        return cls(uplink, round_, rounds, quantile, importance, exact, fates, known)


@dataclass(frozen=True)
class Package:
    """All that one client needs to hold the model of a message, and to answer."""

    session: int
    """Differs between the servers that a client meets in one run."""
    sequence: int
    lineage: int
    """Which of the models that this client is sent in turns: error feedback belongs to one of them."""
    target: bytes
    """The 32-byte hash of what the client holds afterwards."""
    instructions: Instructions
    base: bytes = NOTHING
    frame: bytes = b""
    """Empty: the client holds the target already."""
    keep: tuple[bytes, ...] = ()
    """The references (the first 16 bytes of their hashes) that later messages may build on."""
    verbatim: frozenset[int] = frozenset()
    """Positions of the tensors of which the frame holds the values, not differences to the base."""
    alone: frozenset[int] = frozenset()
    """Positions of the tensors that are differences to zeros."""
    exact: frozenset[int] = frozenset()
    """Positions of the tensors that the client receives exactly as the server has them."""
    others: Others = ()
    """Position in the whole message, and full name, of the arrays that travel beside."""
    flags: int = 0

    def dumps(self) -> bytes:
        """Return the bytes."""
        head = (self.session, self.sequence, self.lineage, self.base, self.target)
        out = bytearray(_DOWN.pack(b"TWDN", VERSION, self.flags, *head))
        out += varint(len(self.keep)) + b"".join(self.keep)
        out += _gaps(self.verbatim) + _gaps(self.alone) + _gaps(self.exact) + _places(self.others)
        return _checked(bytes(out) + self.instructions.dumps()) + self.frame

    @classmethod
    def loads(cls, data: bytes) -> Package:
        """Read a package. Raises WireError."""
        _check_version(data, b"TWDN", "package")
        reader = Reader(data)
        _, _, flags, session, sequence, lineage, base, target = _DOWN.unpack(reader.take(_DOWN.size))
        keep = tuple(reader.take(ID_BYTES) for _ in range(reader.varint()))
        positions = (_read_gaps(reader), _read_gaps(reader), _read_gaps(reader))
        others, instructions = _read_places(reader), Instructions.read(reader)
        _check(reader, flags, UNTYPED | ALL_EXACT)
        head = (session, sequence, lineage, target, instructions, base)
        return cls(*head, reader.take(reader.left), keep, *positions, others, flags)


@dataclass(frozen=True)
class Reply:
    """What a client sends back: the frame of its update, and what it cost."""

    session: int
    sequence: int
    frame: bytes
    nmse: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    scale: float = 1.0
    """What decoded differences are multiplied by: keeps them within a clipping norm."""
    verbatim: frozenset[int] = frozenset()
    alone: frozenset[int] = frozenset()
    others: Others = ()
    record: str = ""
    """The record of the reply's arrays, where it differs from that of the message; the names of the keys are equal."""
    flags: int = 0

    def dumps(self) -> bytes:
        """Return the bytes."""
        cost = (self.nmse, self.encode_s, self.decode_s, self.scale)
        head = _UP.pack(b"TWUP", VERSION, self.flags, self.session, self.sequence, *cost)
        beside = _gaps(self.verbatim) + _gaps(self.alone) + _places(self.others) + _text(self.record)
        return _checked(head + beside) + self.frame

    @classmethod
    def loads(cls, data: bytes) -> Reply:
        """Read a reply. Raises WireError."""
        _check_version(data, b"TWUP", "reply")
        reader = Reader(data)
        _, _, flags, session, sequence, *cost = _UP.unpack(reader.take(_UP.size))
        if not all(0 <= each < math.inf for each in cost) or cost[-1] > 1:
            raise WireError(f"a reply says NMSE, seconds and scale are {cost}, expected finite and not negative")
        nmse, encode_s, decode_s, scale = cost
        beside = (_read_gaps(reader), _read_gaps(reader), _read_places(reader), _read_text(reader))
        _check(reader, flags, UNTYPED | STATELESS)
        frame = reader.take(reader.left)
        return cls(session, sequence, frame, nmse, encode_s, decode_s, scale, *beside, flags)


def version_of(data: bytes) -> int | None:
    """Return the version that a package or reply of any version names; None where it is neither."""
    return data[4] if len(data) > 4 and data[:4] in (b"TWDN", b"TWUP") else None


def model_hash(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the 32-byte SHA-256 of a model: schema and every bit of every tensor."""
    digest = hashlib.sha256(schema_id(specs(tensors)))
    for x in tensors.values():
        digest.update(x.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def _check_version(data: bytes, magic: bytes, what: str) -> None:
    if len(data) < 5 or data[:4] != magic:
        raise WireError(f"not a {what}: it starts with {bytes(data[:5])!r}")
    if data[4] != VERSION:
        raise WireError(
            f"the {what} is of version {data[4]} of thinwire's protocol, expected version {VERSION}: "
            "install the same version of thinwire on the server and on every node"
        )


def _checked(head: bytes) -> bytes:
    return head + struct.pack("<I", zlib.crc32(head))


def _check(reader: Reader, flags: int, known: int) -> None:
    """Raise WireError where what was read so far is damaged, or says what nobody knows."""
    read = zlib.crc32(memoryview(reader.data)[: reader.at])
    if read != int.from_bytes(reader.take(4), "little"):
        raise WireError("the checksum does not match: the package or reply is damaged or cut short")
    if flags & ~known:
        raise WireError(f"unknown flags {flags:#x}")


def _text(text: str) -> bytes:
    raw = text.encode()
    return varint(len(raw)) + raw


def _read_text(reader: Reader) -> str:
    raw = reader.take(reader.varint())
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise WireError(f"a name or description is not UTF-8: {raw[:32]!r}") from None


def _gaps(positions: Iterable[int]) -> bytes:
    ordered = sorted(positions)
    gaps = [at - before for before, at in zip([-1, *ordered], ordered, strict=False)]
    return varint(len(ordered)) + b"".join(varint(gap - 1) for gap in gaps)


def _read_gaps(reader: Reader) -> frozenset[int]:
    at, found = -1, []
    for _ in range(reader.varint()):
        at += reader.varint() + 1
        found.append(at)
    return frozenset(found)


def _places(others: Sequence[tuple[int, str]]) -> bytes:
    return varint(len(others)) + b"".join(varint(at) + _text(name) for at, name in others)


def _read_places(reader: Reader) -> Others:
    return tuple((reader.varint(), _read_text(reader)) for _ in range(reader.varint()))


def _fate(reader: Reader) -> Fate:
    sequence, outcome, seconds = _FATE.unpack(reader.take(_FATE.size))
    if outcome not in Outcome.__members__.values():
        raise WireError(f"the fate of a reply is {outcome}, expected 0 to 2")
    return Fate(sequence, Outcome(outcome), seconds)
