"""Records and body: what of each tensor travels, walked along `Codec.layout`."""

from __future__ import annotations

import torch
from torch import Tensor

from thinwire.codec import VARIABLE, Codec, Encoded, Spec
from thinwire.errors import WireError
from thinwire.wire.integers import Reader, varint
from thinwire.wire.table import Table


def write_record(encoded: Encoded, out: bytearray) -> None:
    """Append what the receiver cannot derive: sizes, seeds and the lengths of variable parts, depth first."""
    if encoded.codec.sized:
        out += varint(encoded.size)
    if encoded.codec.seeded:
        out += encoded.seed.to_bytes(4, "little")
    for name, part in encoded.codec.layout(encoded.spec, encoded.size).items():
        value = encoded.parts[name]
        if isinstance(value, Encoded):
            write_record(value, out)
        elif part.shape == (VARIABLE,):
            out += varint(value.numel())


def read_tensor(table: Table, spec: Spec, records: Reader, body: Body) -> Encoded:
    """Take one tensor off records and body. Raises WireError."""
    return _read_parts(table.codec(records.varint()), spec, records, body)


def _read_parts(codec: Codec, spec: Spec, records: Reader, body: Body) -> Encoded:
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


class Body:
    """Cuts leaf tensors off the body, in order. The bytes are copied: a message does not pin the frame."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        """Bytes not cut off yet."""
        return len(self.data) - self.at

    def tensor(self, length: int, spec: Spec) -> Tensor:
        """Cut a leaf of ``length`` bytes. Raises WireError where fewer are left."""
        if length > self.left:
            raise WireError(f"a part of {length} bytes, {self.left} are left")
        piece = bytearray(self.data[self.at : self.at + length])
        self.at += length
        if spec.dtype == torch.bool and piece and piece.translate(None, b"\0\1"):
            raise WireError("a bool is neither 0 nor 1")
        shape = (length,) if spec.shape == (VARIABLE,) else spec.shape
        flat = torch.frombuffer(piece, dtype=spec.dtype) if piece else torch.zeros(0, dtype=spec.dtype)
        return flat.reshape(shape)
