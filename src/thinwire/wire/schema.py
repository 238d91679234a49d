"""Names, shapes and dtypes: their bytes, and the hash that stands for them where both ends share them."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping

import torch

from thinwire.codec import Spec, Specs
from thinwire.errors import WireError
from thinwire.wire.integers import Reader
from thinwire.wire.limits import DEFAULT_LIMITS, Limits

DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
"""In wire order, which never changes."""


def schema_id(expect: Mapping[str, Spec]) -> bytes:
    """Return the 16-byte hash (BLAKE2b) of names, shapes and dtypes in order."""
    return hashlib.blake2b(dump_schema(expect), digest_size=16).digest()


def dump_schema(expect: Mapping[str, Spec]) -> bytes:
    """Return the bytes of a schema. Raises ValueError on names, shapes or dtypes that no frame carries."""
    out = bytearray(len(expect).to_bytes(4, "little"))
    for name, spec in expect.items():
        raw = name.encode()
        if len(raw) > DEFAULT_LIMITS.name_bytes or len(spec.shape) > DEFAULT_LIMITS.dims:
            raise ValueError(
                f"tensor {name[:64]!r}: a name of {len(raw)} bytes or {len(spec.shape)} dimensions is too long"
            )
        if spec.dtype not in DTYPES:
            raise ValueError(f"tensor {name!r} is {spec.dtype}; frames carry {', '.join(map(str, DTYPES))}")
        out += struct.pack("<HBB", len(raw), DTYPES.index(spec.dtype), len(spec.shape))
        out += raw + struct.pack(f"<{len(spec.shape)}Q", *spec.shape)
    return bytes(out)


def load_schema(data: bytes, limits: Limits) -> Specs:
    """Return the schema of an inline schema's bytes. Raises WireError."""
    reader, expect = Reader(data), Specs()
    for _ in range(int.from_bytes(reader.take(4), "little")):
        length, dtype, dims = struct.unpack("<HBB", reader.take(4))
        if length > limits.name_bytes or dtype >= len(DTYPES) or dims > limits.dims:
            raise WireError(f"schema: a name of {length} bytes, dtype {dtype} or {dims} dimensions is over the limits")
        name = _text(reader.take(length))
        if name in expect:
            raise WireError(f"schema: the name {name!r} comes twice")
        expect[name] = Spec(struct.unpack(f"<{dims}Q", reader.take(8 * dims)), DTYPES[dtype])
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
