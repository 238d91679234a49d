"""Top-k of every chunk: a fixed number from each neighbourhood."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Codec, State
from thinwire.codecs.sparse.pairs import Sparsifier
from thinwire.kernels.select import chunked
from thinwire.registry import child


@dataclass(frozen=True)
class ChunkTopK(Sparsifier, id="chunktopk"):
    """Keep the ``keep`` largest of every ``chunk`` consecutive elements, exactly; ties go to the lowest index.

    Of a last chunk of m elements, ``max(1, keep * m // chunk)``. As in DeMo (Peng et al. 2024, arXiv:2411.19870) and
    SparseLoCo (Sarfi et al. 2025, arXiv:2508.15706), but on the flat tensor. The number kept follows from the shape
    alone, and an index within a chunk of 4096 takes 12 bits.
    """

    keep: int = 64
    chunk: int = 4096
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    static = True

    def __post_init__(self) -> None:
        if not isinstance(self.chunk, int) or not 1 <= self.chunk < 1 << 31:
            raise ValueError(f"ChunkTopK: chunk is {self.chunk!r}, expected a number of elements from 1")
        if not isinstance(self.keep, int) or not 1 <= self.keep <= self.chunk:
            raise ValueError(f"ChunkTopK: keep is {self.keep!r}, expected 1 to chunk, which is {self.chunk}")

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Select chunk by chunk; see ``kernels.select.chunked``."""
        return chunked.largest(flat, self.keep, self.chunk), {}
