"""A tensor in compressed form, and back. Whatever its parts hold: a tensor of exactly its spec, or WireError."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from torch import Tensor

from thinwire.codec.base import Codec, Stream
from thinwire.codec.spec import VARIABLE, Spec
from thinwire.errors import WireError
from thinwire.kernels.distortion import all_finite


@dataclass(frozen=True, eq=False)
class Encoded:
    """A tensor in compressed form, in memory, still on its device."""

    codec: Codec
    spec: Spec
    parts: Mapping[str, Tensor | Encoded]
    seed: int = 0
    size: int = 0
    known: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    """Parts as they were before their codecs took them, where that is what decodes: integers. They never travel."""

    def known_parts(self) -> dict[str, Tensor]:
        """Return all parts as their receiver decodes them; what the sender still knows is not decoded again."""
        return {name: self.known_part(name) for name in self.parts}

    def known_part(self, name: str) -> Tensor:
        """Return one of them."""
        return self.known[name] if name in self.known else _plain(self.parts[name])

    def decoded(self) -> Tensor:
        """Return the tensor as its receiver decodes it, likewise."""
        return _assembled(self, self.known_parts())

    def leaves(self) -> Iterator[Tensor]:
        """Yield the leaf part tensors, depth first, in wire order."""
        for part in self.parts.values():
            if isinstance(part, Encoded):
                yield from part.leaves()
            else:
                yield part

    @property
    def payload_bytes(self) -> int:
        """Bytes of all leaf parts: what this tensor adds to a frame's body."""
        return sum(leaf.numel() * leaf.dtype.itemsize for leaf in self.leaves())


Message = dict[str, Encoded]


def forget(encoded: Encoded) -> Encoded:
    """Return what was encoded without what only its sender knows: what a message holds."""
    return replace(encoded, known={}) if encoded.known else encoded


def decode(encoded: Encoded) -> Tensor:
    """Return the decoded tensor. Needs no policy and no state. Raises WireError, and nothing else, on bad parts."""
    streams = {name for name in encoded.codec.streams if is_stream(encoded.parts.get(name))}
    return _assembled(encoded, {n: part if n in streams else _plain(part) for n, part in encoded.parts.items()})


def is_stream(part: Tensor | Encoded | None) -> bool:
    """Return whether a part was encoded by a Stream, so that ``pieces_of`` it can be had."""
    return isinstance(part, Encoded) and isinstance(part.codec, Stream)


def pieces_of(encoded: Encoded) -> Iterator[Tensor]:
    """Yield the flat pieces of what a Stream encoded. Raises WireError."""
    assert isinstance(encoded.codec, Stream)
    parts = _checked(encoded, encoded.parts)
    return encoded.codec.read(parts, encoded.spec.shape)


def _plain(part: Tensor | Encoded) -> Tensor:
    return decode(part) if isinstance(part, Encoded) else part


def _assembled(encoded: Encoded, parts: Mapping[str, Tensor | Encoded]) -> Tensor:
    out = encoded.codec.from_parts(_checked(encoded, parts), encoded.spec, encoded.seed)
    if out.dtype.is_floating_point and not encoded.codec.lossless and not all_finite(out):
        raise WireError(f"{encoded.codec.id}: a decoded value is not finite")
    return out


def _checked(encoded: Encoded, parts: Mapping[str, Tensor | Encoded]) -> Mapping[str, Tensor]:
    """Return the parts if they fit the layout: tensors but for the streams that the codec takes."""
    for name, part_spec in encoded.codec.layout(encoded.spec, encoded.size).items():
        _check_part(encoded.codec, name, parts, part_spec)
    return cast(Mapping[str, Tensor], parts)


def _check_part(codec: Codec, name: str, parts: Mapping[str, Tensor | Encoded], expected: Spec) -> None:
    if name not in parts:
        raise WireError(f"{codec.id}: part {name!r} is missing")
    part = parts[name]
    given = part.spec if isinstance(part, Encoded) else Spec.of(part)
    fits = expected.shape == (VARIABLE,) and len(given.shape) == 1
    if given.dtype != expected.dtype or not (fits or given.shape == expected.shape):
        raise WireError(f"{codec.id}: part {name!r} is {given.shape} {given.dtype}, expected {expected}")
