"""The core idea: a codec maps a tensor to named part tensors and back.

    x --to_parts--> {"values": Tensor, "indices": Tensor} --each part that a field codec claims--> Encoded --> ...

A codec is a frozen dataclass. A field that is itself a Codec encodes the part of the same name, so codecs compose as a
tree: ``TopK(0.01, values=Uniform(bits=8))``. Codecs hold no state, do no I/O and never touch a global random generator.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import ClassVar, cast

import torch
from torch import Tensor

from thinwire.errors import NonFiniteError, WireError
from thinwire.kernels.distortion import all_finite, energy, largest

State = dict[str, Tensor]
"""Private memory of a sender, flat: it fits checkpoints and Flower's ``Context.state``. Decoding never needs it."""

VARIABLE = -1
"""Length of a part that does not follow from the spec; the wire carries it."""


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of a tensor: what both ends know before a payload arrives."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Number of elements; 1 for a 0-d tensor."""
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def nbytes(self) -> int:
        """Dense size in bytes."""
        return self.numel * self.dtype.itemsize

    @property
    def working(self) -> torch.dtype:
        """Dtype that lossy arithmetic uses: float64 for float64 tensors, float32 for every other float."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @classmethod
    def of(cls, x: Tensor) -> Spec:
        """Return the spec of a tensor."""
        return cls(tuple(x.shape), x.dtype)


Specs = dict[str, Spec]


def specs(tensors: Mapping[str, Tensor]) -> Specs:
    """Return name -> Spec for name -> tensor: the schema that two ends of a link share."""
    return {name: Spec.of(x) for name, x in tensors.items()}


class Codec(ABC):
    """Pure map between a tensor and named part tensors.

    Subclasses are frozen dataclasses declared with ``id`` (registry key, for ever) and ``tag`` (its byte on the wire,
    for ever; 128 to 255 are free for plug-ins; none for codecs that never travel, because ``fit`` or ``decoder`` gives
    another). Class facts say what the algebra allows; the conformance suite of
    ``thinwire.testing`` checks every claim.
    """

    id: ClassVar[str]
    tag: ClassVar[int]
    wire_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that decoding needs: non-negative integers, bools, or texts of ``choices``. No other field travels."""
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The texts that a wire field may be, in an order that never changes."""
    linear: ClassVar[bool] = False
    """Parts of two tensors (same spec and seed) may be added: ``decode(a + b) == decode(a) + decode(b)``."""
    static: ClassVar[bool] = False
    """Part shapes follow from spec and fields alone, whatever the values."""
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    """The decoded tensor's expectation over seeds is the tensor (as configured by default)."""
    exact: ClassVar[bool] = True
    """Every machine decodes the same bits, so a decoded tensor may carry a reference."""
    seeded: ClassVar[bool] = False
    """Decoding needs the sender's seed, which then travels."""
    local: ClassVar[bool] = True
    """What some rows of a tensor cost and lose tells what all of them do; not so where all share something large."""
    knob: ClassVar[str] = ""
    """The field by which bytes are traded for error, for who searches: step, nmse, bits or density; none: empty."""
    sized: ClassVar[bool] = False
    """One integer (elements kept, rank, ...) travels, from which the shapes of the parts follow."""
    streams: ClassVar[tuple[str, ...]] = ()
    """Parts that ``from_parts`` also takes as Encoded by a Stream, and then reads in pieces: never held whole."""

    def __init_subclass__(cls, *, id: str = "", tag: int = 0, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if id:
            from thinwire import registry

            cls.id, cls.tag = id, tag
            registry.register_codec(cls)

    @property
    def contractive(self) -> bool:
        """Decoding never lands further from the tensor than zero is: what error feedback needs, or it diverges."""
        return True

    def fit(self, x: Tensor, seed: int) -> Codec:
        """Return the concrete codec for this tensor: searches (an error bound, the smallest of several) end here."""
        return self

    def decoder(self) -> Codec:
        """Return the codec that decodes what this one encoded: itself, or what several rules of selection share."""
        return self

    @abstractmethod
    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return the parts of ``x`` (any shape, finite unless lossless) and what to remember for the next call."""

    def to_streams(self, x: Tensor) -> dict[str, Tensor | Encoded] | None:
        """Return the parts of ``to_parts`` with those of ``streams`` encoded in pieces; None: ``to_parts`` it is.

        What travels is the same, bit for bit. For codecs without seed and history.
        """
        return None

    @abstractmethod
    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the spec of every part, in wire order; a leaf of uint8 may be VARIABLE long. Bad sizes: WireError."""

    @abstractmethod
    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the decoded tensor, of exactly ``spec``. Parts have ``layout``'s shapes; bad values: WireError."""

    def size(self, parts: Mapping[str, Tensor]) -> int:
        """Return the integer that travels for a ``sized`` codec."""
        return 0

    def nonzeros(self, encoded: Encoded) -> tuple[Tensor, Tensor] | None:
        """Return where and what a sparse codec sent: indices (int64, distinct) into the flat tensor, and their values.

        All other elements decode to zero. None: the codec is not sparse. For the sender: its own parts are trusted.
        """
        return None

    def subtract_(self, target: Tensor, encoded: Encoded) -> None:
        """Subtract what was encoded from the contiguous ``target`` in place: sparse codecs in k operations."""
        sparse = self.nonzeros(encoded)
        if sparse is None:
            target -= _assembled(encoded, encoded.known_parts()).to(target.dtype)
        else:
            indices, values = (part.to(target.device) for part in sparse)
            target.view(-1).index_add_(0, indices, values.to(target.dtype), alpha=-1)

    def __str__(self) -> str:
        from thinwire import registry

        return registry.text(self)

    def children(self) -> dict[str, Codec]:
        """Return the fields that are codecs, by part name."""
        return {name: value for name in field_names(type(self)) if isinstance(value := getattr(self, name), Codec)}


class Stream(Codec):
    """Lossless for int32 tensors, which it also takes and gives in pieces, so that nobody has to hold the whole."""

    piece: ClassVar[int]
    """Elements of every piece but the last."""

    @abstractmethod
    def write(self, pieces: Iterable[Tensor], count: int) -> dict[str, Tensor]:
        """Return the parts of ``count`` elements from their flat int32 pieces; each is read before the next is made."""

    @abstractmethod
    def read(self, parts: Mapping[str, Tensor], count: int) -> Iterator[Tensor]:
        """Yield the flat pieces of ``count`` elements, in the narrowest dtype at hand. Raises WireError."""


@cache
def field_names(cls: type[Codec]) -> tuple[str, ...]:
    """Return the dataclass field names of a codec class, in order."""
    return tuple(f.name for f in fields(cls))  # type: ignore[arg-type]


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


def encode(codec: Codec, x: Tensor, seed: int = 0, history: State | None = None) -> Encoded:
    """Encode one tensor of any shape; ``x`` is not changed.

    ``seed`` (0 to 2**32 - 1) drives every random choice. Integer and bool tensors are always lossless, whatever the
    codec. The result is never larger than the dense tensor: where the codec would grow it, it is sent raw.
    Raises NonFiniteError when a lossy codec is given NaN or infinity.
    """
    return forget(encode_with_history(codec, x, seed, history or {})[0])


def encode_with_history(
    codec: Codec, x: Tensor, seed: int, history: State, squares: float | None = None
) -> tuple[Encoded, State]:
    """Encode as ``encode`` does and also return what the codec wants to remember for this tensor.

    ``squares`` is ``kernels.distortion.energy(x)``: whoever has it saves a read of the tensor. What is encoded holds
    its ``known`` parts; ``forget`` them before it is kept.
    """
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed is {seed}, expected 0 to 2**32 - 1")
    x = x.detach()
    encoded, history = encode_parts(_concrete(codec, x, seed, squares), x, seed, history)
    if encoded.payload_bytes > Spec.of(x).nbytes:
        return encode_parts(_named("raw"), x, seed, {})[0], {}
    return encoded, history


def encode_parts(codec: Codec, x: Tensor, seed: int, history: State) -> tuple[Encoded, State]:
    """Apply one concrete codec and, to the parts that its fields claim, their codecs."""
    made: Mapping[str, Tensor | Encoded] | None = codec.to_streams(x)
    if made is None:
        made, history = codec.to_parts(x, seed, history)
    parts = {name: part for name, part in made.items() if isinstance(part, Tensor)}
    size = codec.size(parts)
    claimed = {name: inner for name, inner in codec.children().items() if name in parts}
    nested = {name: _encode_child(inner, parts[name], derive_seed(seed, name)) for name, inner in claimed.items()}
    if any(nested[name].codec != inner for name, inner in claimed.items()):
        codec = replace(codec, **{name: child.codec for name, child in nested.items()})  # type: ignore[type-var]
    known = {name: parts[name] for name in claimed if not parts[name].dtype.is_floating_point}
    seed = seed if codec.seeded else 0
    return Encoded(codec.decoder(), Spec.of(x), {**made, **nested}, seed, size, known), history


def forget(encoded: Encoded) -> Encoded:
    """Return what was encoded without what only its sender knows: what a message holds."""
    return replace(encoded, known={}) if encoded.known else encoded


def _encode_child(codec: Codec, part: Tensor, seed: int) -> Encoded:
    return forget(encode_parts(_concrete(codec, part, seed), part, seed, {})[0])


def _concrete(codec: Codec, x: Tensor, seed: int, squares: float | None = None) -> Codec:
    if codec.lossless:
        return codec
    return _named("planes") if _must_be_lossless(codec, x, squares) else codec.fit(x, seed)


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
    return encoded.codec.read(parts, encoded.spec.numel)


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


def derive_seed(seed: int, name: str) -> int:
    """Return a seed (0 to 2**32 - 1) for one part or tensor, independent of the others'."""
    digest = hashlib.blake2b(name.encode(), digest_size=4, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little")


def generator(seed: int) -> torch.Generator:
    """Return a private CPU generator: the same numbers for the same seed, the global generator untouched."""
    return torch.Generator().manual_seed(seed)


def _check_part(codec: Codec, name: str, parts: Mapping[str, Tensor | Encoded], expected: Spec) -> None:
    if name not in parts:
        raise WireError(f"{codec.id}: part {name!r} is missing")
    part = parts[name]
    given = part.spec if isinstance(part, Encoded) else Spec.of(part)
    fits = expected.shape == (VARIABLE,) and len(given.shape) == 1
    if given.dtype != expected.dtype or not (fits or given.shape == expected.shape):
        raise WireError(f"{codec.id}: part {name!r} is {given.shape} {given.dtype}, expected {expected}")


def _must_be_lossless(codec: Codec, x: Tensor, squares: float | None) -> bool:
    """Integers always; floats whose largest magnitude is so close to the dtype's limits that a scale would overflow."""
    if x.is_complex():
        raise TypeError(f"complex tensors cannot be encoded (given {x.dtype}); encode torch.view_as_real(x) instead")
    if not x.dtype.is_floating_point:
        return True
    limits = torch.finfo(Spec.of(x).working)
    low, high = limits.tiny * 2.0**32, limits.max / 4
    # The sum of squares, which takes half the time, nearly always shows that the largest magnitude is in between.
    if 4 * low * low * x.numel() < (energy(x) if squares is None else squares) < high * high / 4:
        return False
    peak = largest(x)
    if not math.isfinite(peak):
        raise _non_finite(codec, x)
    return peak != 0.0 and not low <= peak <= high


def _named(id: str) -> Codec:
    from thinwire import registry

    return registry.codec_class(id)()


def _non_finite(codec: Codec, x: Tensor) -> NonFiniteError:
    nans, infs = int(torch.isnan(x).sum()), int(torch.isinf(x).sum())
    return NonFiniteError(
        f"the tensor {tuple(x.shape)} {x.dtype} holds {nans} NaN and {infs} infinite values, which {codec!r} would "
        "turn into silent garbage; skip the step that made them, or send it with a lossless codec (Raw, Planes)"
    )
