"""Values that travel as one tensor: those that come to the same in whatever company."""

from __future__ import annotations

from typing import TypeGuard

from thinwire.codec import Codec
from thinwire.codecs.integers import Indices
from thinwire.codecs.quantize import Uniform
from thinwire.codecs.segments import Segments

_ENDS = Indices(coder="rice")


def joint_values(values: Codec, lengths: tuple[int, ...]) -> Codec | None:
    """Return the codec that makes of consecutive segments what ``values`` makes of each alone; None: there is none.

    ``lengths``: elements of each segment; one of 0 is none. There is one of values that go without loss, and of evenly
    spaced levels of a whole tensor, of which each segment then has its own.
    """
    if values.lossless:
        return values
    if not is_evenly_spaced(values) or values.block != "tensor":
        return None
    assert values.bits is not None
    return Segments(values.bits, values.symmetric, tuple(filter(None, lengths)), values.codes, _ENDS)


def is_evenly_spaced(codec: Codec) -> TypeGuard[Uniform]:
    """Return whether a codec's levels depend on nothing but the values themselves, block by block."""
    return isinstance(codec, Uniform) and codec.rounding == "nearest" and codec.bits is not None and codec.step is None
