"""What a packed file is to be: every bit, a codec, a bound on the error (bounds.py), a number of bytes (spend.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor

from thinwire.checkpoint.entries import Entry
from thinwire.checkpoint.sent import Given, Sent
from thinwire.checkpoint.survey import Survey
from thinwire.codec import Codec
from thinwire.errors import CheckpointError
from thinwire.policy.plan import is_large

SMALL = 1024
LONG = 1 << 18
"""Below ``SMALL`` elements, or in one dimension below ``LONG``, floats keep every bit: few bytes, most of the harm.

One dimension longer than that is no bias or norm but many tensors laid end to end.
"""


class Chooser(Protocol):
    """Says how each piece travels, in the order of the file."""

    def sent(self, given: Given) -> Sent:
        """Return a piece as it is to travel."""
        ...

    def holds(self, given: Given, sent: Sent, decoded: Tensor) -> bool:
        """Say whether what the receiver will decode is good enough. Where not, the piece is sent with every bit."""
        ...

    def wrote(self, record_bytes: int) -> None:
        """Take note of what a frame was in the file."""
        ...


class Goal(Protocol):
    """What the user wants."""

    def chooser(self, survey: Survey, fixed_bytes: int) -> Chooser:
        """Look at the pieces if need be and return who chooses. ``fixed_bytes``: what the file is without frames."""
        ...


def lossy(entry: Entry) -> bool:
    """Say whether a tensor may lose bits at all."""
    large = is_large(entry.spec, SMALL) or entry.spec.numel >= LONG
    return entry.spec.dtype.is_floating_point and large


@dataclass(frozen=True)
class Plain:
    """A goal that is its own chooser: it needs no look ahead and keeps no account."""

    def chooser(self, survey: Survey, fixed_bytes: int) -> Self:
        """Return itself."""
        return self

    def holds(self, given: Given, sent: Sent, decoded: Tensor) -> bool:
        """Nothing is promised."""
        return True

    def wrote(self, record_bytes: int) -> None:
        """Nothing is counted."""


@dataclass(frozen=True)
class Lossless(Plain):
    """Every bit returns."""

    def sent(self, given: Given) -> Sent:
        """Return all bits."""
        return given.lossless()


@dataclass(frozen=True)
class WithCodec(Plain):
    """One codec for every matrix of floats."""

    codec: Codec

    def __post_init__(self) -> None:
        if not isinstance(self.codec, Codec):
            raise CheckpointError(
                f"{type(self.codec).__name__} is no codec; give Step(relative=0.01), say, or a bound or a budget"
            )
        if not self.codec.exact:
            raise CheckpointError(
                f"{self.codec} decodes differently on other machines: no file can promise its content"
            )

    def sent(self, given: Given) -> Sent:
        """Return the piece under the codec."""
        return given.lossy(self.codec) if lossy(given.piece.entry) else given.lossless()
