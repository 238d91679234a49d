"""How many elements sparse codecs selected, counted from what they encoded: no tensor is read again."""

from __future__ import annotations

from dataclasses import dataclass

from thinwire.codec import Codec, Encoded
from thinwire.codecs.sparse.pairs import kept_count


@dataclass(frozen=True)
class Selected:
    """Elements of its own tensors that a rank selected by sparse codecs, and what their densities asked for.

    A rule without a density (a threshold, so many of every chunk) asks for what it selects. Codecs that are not sparse
    count nothing; what a sparse one gave up to send whole counts in full.
    """

    kept: int = 0
    wanted: int = 0

    def __add__(self, other: Selected) -> Selected:
        return Selected(self.kept + other.kept, self.wanted + other.wanted)


NOTHING = Selected()


def selected(codec: Codec, encoded: Encoded) -> Selected:
    """Return what ``codec`` selected of the tensor that it encoded: of what it became, the size that travels."""
    numel, sparse = encoded.spec.numel, is_sparse(encoded.codec)
    if not sparse and not is_sparse(codec):
        return NOTHING
    kept, density = encoded.size if sparse else numel, getattr(codec, "density", None)
    return Selected(kept, kept if density is None else kept_count(density, numel))


def is_sparse(codec: Codec) -> bool:
    """Return whether a codec sends some elements and leaves the others at zero."""
    return type(codec).nonzeros is not Codec.nonzeros
