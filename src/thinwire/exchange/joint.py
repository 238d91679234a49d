"""Which sparse tensors may travel as one: those that come to the same in whatever company."""

from __future__ import annotations

from thinwire.codec import Codec, Spec
from thinwire.codecs.integers import Indices
from thinwire.codecs.quantize import Uniform
from thinwire.codecs.segments import Segments
from thinwire.codecs.sparse.pairs import Sparsifier

_ENDS = Indices(coder="rice")


def groups(codec: Codec, spec: Spec) -> bool:
    """Return whether a tensor may join others of its codec and dtype, and comes to the same in whatever company.

    So do sparse ones whose values go without loss or by evenly spaced levels, of which each tensor has its own.
    """
    if not isinstance(codec, Sparsifier) or spec.dtype != spec.working:
        return False
    return codec.indices.lossless and joint_values(codec.values, ()) is not None


def joint_values(values: Codec, lengths: tuple[int, ...]) -> Codec | None:
    """Return the codec that makes of consecutive segments what ``values`` makes of each alone; None: there is none.

    ``lengths``: elements of each segment; one of 0 is none.
    """
    if values.lossless:
        return values
    alone = isinstance(values, Uniform) and values.block == "tensor" and values.rounding == "nearest"
    if not isinstance(values, Uniform) or not alone or values.bits is None or values.step is not None:
        return None
    return Segments(values.bits, values.symmetric, tuple(filter(None, lengths)), values.codes, _ENDS)
