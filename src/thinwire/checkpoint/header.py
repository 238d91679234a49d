"""The header of a safetensors file: read strictly, with no recursion, in memory and time that follow its bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from thinwire.checkpoint.entries import CARRIERS, LIMITS, METADATA, MOST_TEXTS, Entry
from thinwire.codec import Spec
from thinwire.errors import quoted

MOST_BYTES = 100_000_000
"""Of a header, as the safetensors library reads it."""
_MOST_LIST, _MOST_FIELDS = 1000, 16
_PACKED_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
"""Dtypes narrower than a byte, whose tensors take whole bytes and travel as those, as any unknown dtype does."""
_SPACE = r"[ \t\n\r]*+"
_STRING = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_WHOLE = r"(?:0|[1-9][0-9]*+)"
_LIST = rf"\[{_SPACE}(?:{_WHOLE}{_SPACE}(?:,{_SPACE}{_WHOLE}{_SPACE})*+)?+\]"
_SCALAR = rf"true|false|null|-?{_WHOLE}(?:\.[0-9]++)?+(?:[eE][-+]?+[0-9]++)?+"
_OPEN = re.compile(rf"{_SPACE}\{{{_SPACE}")
_KEY = re.compile(rf"({_STRING}){_SPACE}:{_SPACE}")
_NULL = re.compile("null")
_VALUE = re.compile(rf"({_STRING})|({_LIST})|(?:{_SCALAR})")
_NEXT = re.compile(rf"{_SPACE}([,}}]){_SPACE}")


class BadHeader(ValueError):
    """What is wrong with a header."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself."""

    entries: tuple[Entry, ...]
    """In the order in which the tensors lie."""
    metadata: Mapping[str, str]
    nbytes: int
    """Of all tensors."""


@dataclass(frozen=True)
class _Said:
    """One tensor as the header says it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def parse_header(data: bytes, most_tensors: int = LIMITS.tensors) -> Header:
    """Return what a header says, the eight bytes of its length left out. Raises BadHeader."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadHeader("the header is not UTF-8") from None
    said, metadata = _Parser(text, most_tensors).read()
    entries, at = [], 0
    for one in sorted(said, key=lambda one: (one.start, one.end)):
        if one.start != at or one.end < at:
            raise BadHeader(f"{quoted(one.name)} lies at {one.start} to {one.end}, expected from {at} on: no holes")
        at = one.end
        entries.append(_entry(one))
    return Header(tuple(entries), metadata, at)


def header_text(entries: Iterable[Entry], metadata: Mapping[str, str]) -> bytes:
    """Return the header that the safetensors library writes for these, the eight bytes of its length left out."""
    table: dict[str, object] = {METADATA: dict(metadata)} if metadata else {}
    at = 0
    for entry in entries:
        end = at + entry.spec.nbytes
        table[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def _entry(said: _Said) -> Entry:
    shape, nbytes = said.shape, said.end - said.start
    elements, room = 1, 1
    for side in shape:
        elements, room = elements * side, room * max(side, 1)
    # Zeros hide the other sides from a product, yet no library takes any side for an empty tensor.
    if len(shape) > LIMITS.dims or room > LIMITS.decoded_bytes:
        raise BadHeader(
            f"{quoted(said.name)} has the shape {list(shape)}: at most {LIMITS.dims} dimensions and "
            f"{LIMITS.decoded_bytes} elements are taken"
        )
    carrier = CARRIERS.get(said.dtype)
    bits = _PACKED_BITS.get(said.dtype, 0) if carrier is None else 8 * carrier.itemsize
    if bits and bits * elements != 8 * nbytes:
        raise BadHeader(f"{quoted(said.name)}: {nbytes} bytes are not {list(shape)} of {quoted(said.dtype)}")
    if carrier is None:
        return Entry(said.name, said.dtype, Spec((nbytes,), torch.uint8), said_shape=shape)
    return Entry(said.name, said.dtype, Spec(shape, carrier))


class _Parser:
    """Goes through the text once. One object of objects is all the nesting there is."""

    def __init__(self, text: str, most_tensors: int) -> None:
        self._text, self._most_tensors, self._at = text, most_tensors, 0

    def read(self) -> tuple[list[_Said], dict[str, str]]:
        """Return the tensors as they come, and the metadata."""
        found: dict[str, _Said] = {}
        metadata: dict[str, str] | None = None
        for name in self._keys():
            if name in found or (name == METADATA and metadata is not None):
                raise BadHeader(f"the name {quoted(name)} comes twice")
            if name == METADATA:
                metadata = self._metadata()
                continue
            if len(found) == self._most_tensors:
                raise BadHeader(f"more than {self._most_tensors} tensors")
            found[name] = self._tensor(name)
        if self._text[self._at :].strip(" "):
            raise BadHeader("something follows the header's closing brace")
        return list(found.values()), metadata or {}

    def _keys(self) -> Iterator[str]:
        """Yield the keys of an object that begins here; whoever takes one must take its value before the next."""
        self._take(_OPEN, "{")
        if self._text.startswith("}", self._at):
            self._at += 1
            return
        while True:
            yield _string(self._take(_KEY, "a name and a colon")[1])
            if self._take(_NEXT, "a comma or a closing brace")[1] == "}":
                # Blanks behind the last brace belong to whoever counts them.
                return

    def _metadata(self) -> dict[str, str]:
        if (null := _NULL.match(self._text, self._at)) is not None:
            self._at = null.end()
            return {}
        texts: dict[str, str] = {}
        for key in self._keys():
            value = self._take(_VALUE, "a text")[1]
            if value is None or key in texts or len(texts) >= MOST_TEXTS:
                raise BadHeader(f"the metadata {quoted(key)} is no text, comes twice, or is one of too many")
            texts[key] = _string(value)
        return texts

    def _tensor(self, name: str) -> _Said:
        fields: dict[str, str | tuple[int, ...]] = {}
        for key in self._keys():
            text, numbers = self._take(_VALUE, "a text, a number or a list of whole numbers").groups()
            if key in fields:
                raise BadHeader(f"{quoted(name)}: {quoted(key)} comes twice")
            fields[key] = _string(text) if text is not None else _numbers(numbers) if numbers is not None else ""
            if len(fields) > _MOST_FIELDS:
                raise BadHeader(f"{quoted(name)}: too many fields")
        dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not isinstance(dtype, str) or not isinstance(shape, tuple) or not isinstance(offsets, tuple):
            raise BadHeader(f"{quoted(name)} lacks dtype, shape or data_offsets, or one of them is of another kind")
        if len(offsets) != 2 or not dtype:
            raise BadHeader(f"{quoted(name)}: {len(offsets)} offsets, expected 2, and a dtype")
        return _Said(name, dtype, shape, *offsets)

    def _take(self, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            near = self._text[self._at : self._at + 20]
            raise BadHeader(f"the header has {quoted(near)} at {self._at}, expected {expected}")
        self._at = found.end()
        return found


def _string(token: str) -> str:
    text = token[1:-1] if "\\" not in token else json.loads(token)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadHeader(f"{quoted(text)} is no text: it has half of a character") from None
    return str(text)


def _numbers(token: str) -> tuple[int, ...]:
    if len(token) > _MOST_LIST:
        raise BadHeader(f"a list of {len(token)} characters")
    inner = token[1:-1].strip(" \t\n\r")
    return tuple(int(number) for number in inner.split(",")) if inner else ()
