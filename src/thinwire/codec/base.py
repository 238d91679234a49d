"""What a codec is: a frozen dataclass that says what it makes of a tensor, and what may be done with that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from thinwire.codec.spec import Spec, State

if TYPE_CHECKING:
    from thinwire.codec.encoded import Encoded


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
    integers: ClassVar[bool] = False
    """It takes int32 tensors and no others: a quantizer then gives it codes as integers instead of packed bits."""
    streams: ClassVar[tuple[str, ...]] = ()
    """Parts that ``from_parts`` also takes as Encoded by a Stream, and then reads in pieces: never held whole."""

    def __init_subclass__(cls, *, id: str = "", tag: int = 0, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "__repr__" not in cls.__dict__:
            # A dataclass would write one of its own, which told what no frame tells.
            cls.__repr__ = Codec.__repr__  # type: ignore[method-assign]
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

    def sketch_rank(self, spec: Spec) -> int:
        """Return the rank of the thin factors that a low-rank codec makes of such a matrix, where it is known ahead.

        0: it makes none, or the tensor decides. An exchange may then sum factors over ranks instead of encoding.
        """
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
            target -= encoded.decoded().to(target.dtype)
        else:
            indices, values = (part.to(target.device) for part in sparse)
            target.view(-1).index_add_(0, indices, values.to(target.dtype), alpha=-1)

    def residual_(self, target: Tensor, encoded: Encoded) -> None:
        """Turn the contiguous ``target`` into what was not sent of it, in place: as ``subtract_``, bit for bit.

        For the sender: ``encoded`` is as ``encode_with_history`` returned it, and ``target`` what was encoded, in its
        working dtype. So a codec may quantize anew instead of decoding its own stream.
        """
        self.subtract_(target, encoded)

    def __str__(self) -> str:
        from thinwire import registry

        return registry.told(self) if self.from_frame else registry.text(self)

    def __repr__(self) -> str:
        if self.from_frame:
            return str(self)
        fields = (f"{name}={getattr(self, name)!r}" for name in field_names(type(self)))
        return f"{type(self).__qualname__}({', '.join(fields)})"

    @property
    def from_frame(self) -> bool:
        """Whether it was read from a frame: fields that do not travel are then as decoding needs, and not as chosen."""
        return "_from_frame" in self.__dict__

    def children(self) -> dict[str, Codec]:
        """Return the fields that are codecs, by part name. Do not change it."""
        # Fields never change, and asking each of them what it is takes longer than to decode a small tensor.
        found: dict[str, Codec] | None = self.__dict__.get("_children")
        if found is None:
            every = ((name, getattr(self, name)) for name in field_names(type(self)))
            found = {name: value for name, value in every if isinstance(value, Codec)}
            self.__dict__["_children"] = found
        return found


class Stream(Codec):
    """Lossless for int32 tensors, which it also takes and gives in pieces, so that nobody has to hold the whole."""

    integers = True
    piece: ClassVar[int]
    """Elements of every piece but the last."""

    @abstractmethod
    def write(self, pieces: Iterable[Tensor], shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the parts of a tensor from its flat int32 pieces; each is read before the next is made."""

    @abstractmethod
    def read(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Iterator[Tensor]:
        """Yield the flat pieces of a tensor, in the narrowest dtype at hand. Raises WireError."""


@cache
def field_names(cls: type[Codec]) -> tuple[str, ...]:
    """Return the dataclass field names of a codec class, in order."""
    return tuple(f.name for f in fields(cls))  # type: ignore[arg-type]
