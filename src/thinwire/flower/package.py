"""What the server sends: steps from a reference that the client holds to the model of this message, and instructions.

    package:  "TWDN" | version u8 | steps u8 | base 16 bytes | target 32 bytes | steps x (flags u8, length u48)
              | instructions length u32 | frames | instructions
    reply:    "TWUP" | version u8 | round i32 | nmse f32 | encode seconds f32 | decode seconds f32 | frame

A package of no steps is a model that the client already holds: its 32-byte hash. Frames are ordinary thinwire frames,
instructions are laid out in ``instructions.py``. Version 1 had no importance, no elapsed seconds and no losses; version
2 had no missed round.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from thinwire.codec import specs
from thinwire.errors import WireError
from thinwire.flower.instructions import Instructions
from thinwire.wire import schema_id

_VERSION = 3
_HEADER = struct.Struct("<4sBB16s32s")
_REPLY = struct.Struct("<4sBifff")
_STEP_BYTES = 7
KEYFRAME, SNAPSHOT = 1, 2
"""Flags of a step: keep what it leads to as a keyframe; it starts from nothing instead of from the last model."""
NOTHING = bytes(16)
"""The base of a package for a client that holds nothing."""


@dataclass(frozen=True)
class Step:
    """One frame of a package: a difference to the model before it, or a snapshot."""

    frame: bytes
    flags: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes in a package."""
        return len(self.frame) + _STEP_BYTES


@dataclass(frozen=True)
class Package:
    """All that one client needs to hold the model of a message."""

    base: bytes
    target: bytes
    steps: tuple[Step, ...]
    instructions: Instructions

    def dumps(self) -> bytes:
        """Return the bytes."""
        sizes = b"".join(bytes([s.flags]) + len(s.frame).to_bytes(6, "little") for s in self.steps)
        tail = self.instructions.dumps()
        header = _HEADER.pack(b"TWDN", _VERSION, len(self.steps), self.base[:16], self.target)
        return b"".join([header, sizes, len(tail).to_bytes(4, "little"), *(s.frame for s in self.steps), tail])

    @classmethod
    def loads(cls, data: bytes) -> Package:
        """Read a package. Raises WireError."""
        if len(data) < _HEADER.size:
            raise WireError("the package is cut short")
        magic, version, count, base, target = _HEADER.unpack_from(data)
        if magic != b"TWDN" or version != _VERSION:
            raise WireError(f"not a package of version {_VERSION}: it starts with {data[:5]!r}")
        at = _HEADER.size + count * _STEP_BYTES
        heads = [data[i : i + _STEP_BYTES] for i in range(_HEADER.size, at, _STEP_BYTES)]
        lengths = [int.from_bytes(head[1:], "little") for head in heads]
        tail = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + sum(lengths) + tail != len(data):
            raise WireError("the package's lengths disagree with its size")
        steps, at = [], at + 4
        for head, length in zip(heads, lengths, strict=True):
            steps.append(Step(data[at : at + length], head[0]))
            at += length
        return cls(base, target, tuple(steps), Instructions.loads(data[at:]))


@dataclass(frozen=True)
class Reply:
    """What a client sends back: the frame of its update, and what it cost."""

    frame: bytes
    round: int
    nmse: float
    encode_s: float
    decode_s: float

    def dumps(self) -> bytes:
        """Return the bytes."""
        return _REPLY.pack(b"TWUP", _VERSION, self.round, self.nmse, self.encode_s, self.decode_s) + self.frame

    @classmethod
    def loads(cls, data: bytes) -> Reply:
        """Read a reply. Raises WireError."""
        if len(data) < _REPLY.size:
            raise WireError("the reply is cut short")
        magic, version, round_, nmse, encode_s, decode_s = _REPLY.unpack_from(data)
        if magic != b"TWUP" or version != _VERSION:
            raise WireError(f"not a reply of version {_VERSION}: it starts with {data[:5]!r}")
        if not all(0 <= told < math.inf for told in (nmse, encode_s, decode_s)):
            raise WireError(
                f"a reply says NMSE {nmse}, {encode_s} s and {decode_s} s, expected finite and not negative"
            )
        return cls(data[_REPLY.size :], round_, nmse, encode_s, decode_s)


def model_hash(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the 32-byte SHA-256 of a model: schema and every bit of every tensor."""
    digest = hashlib.sha256(schema_id(specs(tensors)))
    for x in tensors.values():
        digest.update(x.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()
