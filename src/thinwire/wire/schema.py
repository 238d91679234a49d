"""Names, shapes and dtypes: their bytes, and the hash that stands for them where both ends share them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from thinwire.codec import Spec, Specs
from thinwire.errors import WireError
from thinwire.wire.fits import COUNT_BYTES, DTYPES, first_refusal, refusal
from thinwire.wire.integers import Reader
from thinwire.wire.limits import DEFAULT_LIMITS, Limits

_PLACES = {dtype: place for place, dtype in enumerate(DTYPES)}


def schema_id(expect: Mapping[str, Spec], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the 16-byte hash (BLAKE2b) of names, shapes and dtypes in order. Raises ValueError as ``dump_schema``."""
    return hash_of(dump_schema(expect, limits))


def hash_of(schema: bytes) -> bytes:
    """Return the hash of a schema's bytes."""
    return hashlib.blake2b(schema, digest_size=16).digest()


def dump_schema(expect: Mapping[str, Spec], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the bytes of a schema. Raises ValueError with the ``refusal`` of a tensor that no frame carries."""
    out = bytearray(len(expect).to_bytes(COUNT_BYTES, "little"))
    for name, spec in expect.items():
        why = refusal(name, spec, limits)
        if why is not None:
            raise ValueError(why)
        raw, dims = name.encode(), len(spec.shape)
        out += struct.pack("<HBB", len(raw), _PLACES[spec.dtype], dims) + raw + struct.pack(f"<{dims}Q", *spec.shape)
    return bytes(out)


def load_schema(data: bytes, limits: Limits) -> Specs:
    """Return the schema of an inline schema's bytes. Raises WireError."""
    reader, expect = Reader(data), Specs()
    for _ in range(int.from_bytes(reader.take(COUNT_BYTES), "little")):
        length, dtype, dims = struct.unpack("<HBB", reader.take(4))
        if length > limits.name_bytes or dtype >= len(DTYPES) or dims > limits.dims:
            raise WireError(f"schema: a name of {length} bytes, dtype {dtype} or {dims} dimensions is over the limits")
        name = _text(reader.take(length))
        if name in expect:
            raise WireError(f"schema: the name {name!r} comes twice")
        expect[name] = Spec(struct.unpack(f"<{dims}Q", reader.take(8 * dims)), DTYPES[dtype])
    if reader.left:
        raise WireError("schema: bytes are left over")
    if (why := first_refusal(expect, limits)) is not None:
        raise WireError(f"schema: {why}")
    return expect


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise WireError(f"schema: a name is not UTF-8: {raw[:32]!r}") from None
