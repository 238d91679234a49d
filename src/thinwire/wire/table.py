"""The codec table: a tag and the fields that decoding needs, for every codec of a frame."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import cache, lru_cache

from thinwire import registry
from thinwire.codec import Codec
from thinwire.errors import WireError
from thinwire.wire.integers import Reader, varint

_MAX_DEPTH = 4
_REMEMBERED = 1 << 10


class Table:
    """Reads each codec when the first tensor needs it, so that one that serves none costs nothing."""

    def __init__(self, data: bytes, count: int) -> None:
        self._reader, self._count = Reader(data), count
        self._read: list[Codec] = []

    def codec(self, place: int) -> Codec:
        """Return the codec at a place. Raises WireError where that is beyond the table, or ahead of the next unread."""
        if place == len(self._read) < self._count:
            self._read.append(_load_codec(self._reader, 0))
        if place >= self._count:
            raise WireError(f"codec {place} of a table of {self._count}")
        if place >= len(self._read):
            raise WireError(f"codec {place} is used before codec {len(self._read)}: they stand in order of first use")
        return self._read[place]

    def end(self) -> None:
        """Raise WireError unless all was read."""
        unused = self._count - len(self._read)
        if unused or self._reader.left:
            raise WireError(f"{unused} codecs and {self._reader.left} bytes are left over in the codec table")


def describe(codec: Codec) -> bytes:
    """Return the bytes that name a codec and the fields that decoding needs: a tag, its fields, then its children."""
    out = bytearray([codec.tag])
    for name in codec.wire_fields:
        out += varint(_field_to_int(codec, name))
    for inner in codec.children().values():
        out += describe(inner)
    return bytes(out)


def shown(codec: Codec) -> str:
    """Return a codec as text with only what travels: by which bound or density it was chosen, no receiver knows."""
    return registry.told(codec)


def load_codecs(data: bytes, count: int) -> tuple[Codec, ...]:
    """Return the codecs of a table. Raises WireError on unknown tags, bad fields and deep nesting."""
    table = Table(data, count)
    codecs = tuple(map(table.codec, range(count)))
    table.end()
    return codecs


def _load_codec(reader: Reader, depth: int) -> Codec:
    tag = reader.take(1)[0]
    cls = registry.codec_for_tag(tag)
    if cls is None or depth > _MAX_DEPTH:
        raise WireError(f"unknown codec tag {tag}" if cls is None else "codecs are nested too deep")
    values: list[object] = [_field_from_int(cls, name, reader.varint()) for name in cls.wire_fields]
    values += [_load_codec(reader, depth + 1) for _ in range(len(_parts(cls)[1]))]
    try:
        return _built(cls, *values)
    except ValueError as error:
        raise WireError(f"{cls.id}: {error}") from None


@lru_cache(_REMEMBERED)
def _built(cls: type[Codec], *values: object) -> Codec:
    """Return the codec with these values of its wire fields and of its children, all others as in its template."""
    others, children = _parts(cls)
    codec = cls(**others, **dict(zip((*cls.wire_fields, *children), values, strict=True)))
    codec.__dict__["_from_frame"] = True
    return codec


@cache
def _parts(cls: type[Codec]) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return what the required fields of a template hold, but for wire fields, and the names of its children."""
    template = registry.template(cls)
    required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]  # type: ignore[arg-type]
    others = {name: getattr(template, name) for name in required if name not in cls.wire_fields}
    return others, tuple(template.children())


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
