"""The codec table: a tag and the fields that decoding needs, for every codec of a frame."""

from __future__ import annotations

from dataclasses import fields, replace

from thinwire import registry
from thinwire.codec import Codec
from thinwire.errors import WireError
from thinwire.wire.integers import Reader, varint

_MAX_DEPTH = 4


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
    defaults = {field.name: field.default for field in fields(codec)}  # type: ignore[arg-type]
    told = [f"{name}={value!r}" for name in codec.wire_fields if (value := getattr(codec, name)) != defaults[name]]
    usual = registry.template(type(codec)).children()
    told += [f"{name}={shown(inner)}" for name, inner in codec.children().items() if shown(inner) != shown(usual[name])]
    return f"{type(codec).__name__}({', '.join(told)})"


def load_codecs(data: bytes, count: int) -> tuple[Codec, ...]:
    """Return the codecs of a table. Raises WireError on unknown tags, bad fields and deep nesting."""
    reader = Reader(data)
    codecs = tuple(_load_codec(reader, 0) for _ in range(count))
    if reader.left:
        raise WireError(f"{reader.left} bytes are left over in the codec table")
    return codecs


def _load_codec(reader: Reader, depth: int) -> Codec:
    tag = reader.take(1)[0]
    cls = registry.codec_for_tag(tag)
    if cls is None or depth > _MAX_DEPTH:
        raise WireError(f"unknown codec tag {tag}" if cls is None else "codecs are nested too deep")
    template = registry.template(cls)
    values: dict[str, object] = {name: _field_from_int(cls, name, reader.varint()) for name in cls.wire_fields}
    values |= {name: _load_codec(reader, depth + 1) for name in template.children()}
    try:
        return replace(template, **values)  # type: ignore[type-var]
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
