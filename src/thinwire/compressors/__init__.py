"""The ten compressors under the names and with the calls that scripts know, ``none`` and three more names beside them.

    from thinwire.compressors import compressors                     # was: from compression import compressors
    tensor, indexes, values = compressors["hggtopk"].compress(tensor=grad, name="layer", ratio=0.05)

For old scripts, within one process: what comes back are tensors, not bytes; the methods of the same names in
``thinwire.zoo`` send bytes. An object holds state of its own, by name; no two share any. docs/methods.md says what the
published rules did wrong and what is done instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from thinwire.compressors.base import SparseCompressor
from thinwire.compressors.named import (
    DGCSamplingCompressor,
    GaussianCompressor,
    GaussianCompressor2,
    GTopKCompressor,
    HGGTopKCompressor,
    NoneCompressor,
    RandomKCompressor,
    RandomKECCompressor,
    RandomKSameCompressor,
    RandomKSameECCompressor,
    RedSyncCompressor,
    RedSyncTrimCompressor,
    TopKCompressor,
    TopKCompressor2,
)
from thinwire.errors import unknown

__all__ = [
    "DGCSamplingCompressor",
    "GTopKCompressor",
    "GaussianCompressor",
    "GaussianCompressor2",
    "HGGTopKCompressor",
    "NoneCompressor",
    "RandomKCompressor",
    "RandomKECCompressor",
    "RandomKSameCompressor",
    "RandomKSameECCompressor",
    "RedSyncCompressor",
    "RedSyncTrimCompressor",
    "SparseCompressor",
    "TopKCompressor",
    "TopKCompressor2",
    "compressors",
]


class _ByName(Mapping[str, SparseCompressor]):
    def __init__(self, **compressors: SparseCompressor) -> None:
        self._compressors = compressors

    def __getitem__(self, name: str) -> SparseCompressor:
        if name not in self._compressors:
            raise KeyError(unknown("compressor", str(name), self._compressors))
        return self._compressors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._compressors)

    def __len__(self) -> int:
        return len(self._compressors)


compressors: Mapping[str, SparseCompressor] = _ByName(
    none=NoneCompressor.shared(),
    topk=TopKCompressor.shared(),
    topk2=TopKCompressor2.shared(),
    gaussian=GaussianCompressor.shared(),
    gaussian2=GaussianCompressor2.shared(),
    randomk=RandomKCompressor.shared(),
    randomkec=RandomKECCompressor.shared(),
    dgcsampling=DGCSamplingCompressor.shared(),
    redsync=RedSyncCompressor.shared(),
    redsynctrim=RedSyncTrimCompressor.shared(),
    hggtopk=HGGTopKCompressor.shared(),
    gtopk=GTopKCompressor.shared(),
    randomksame=RandomKSameCompressor.shared(),
    randomksameec=RandomKSameECCompressor.shared(),
)
"""One object a method, the same for the whole process, for which the class stands too. For state of your own make an
object: ``TopKCompressor()``, or ``compressors["topk"]()``."""
