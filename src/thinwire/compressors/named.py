"""The published names: which rule selects, and whether what was not sent is kept."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from thinwire.codec import State
from thinwire.codecs.sparse.exact import TopK
from thinwire.codecs.sparse.gaussian import Gaussian
from thinwire.codecs.sparse.hgg import HggTopK
from thinwire.codecs.sparse.pairs import Sparsifier, check_density, kept_count
from thinwire.codecs.sparse.redsync import RedSync
from thinwire.codecs.sparse.sampled import DGCSampling
from thinwire.compressors.base import SparseCompressor
from thinwire.kernels.narrow import saturate
from thinwire.kernels.permutation import random_subset


class _ByCodec(SparseCompressor):
    @abstractmethod
    def codec(self, ratio: float) -> Sparsifier:
        """Return the codec that selects this share."""

    def select(self, flat: Tensor, ratio: float, seed: int, history: State) -> tuple[Tensor, State]:
        """Select as the codec does."""
        return self.codec(ratio).select(flat, seed, history)


class TopKCompressor(_ByCodec):
    """The k largest, exactly: k is ``max(1, int(ratio * n))``."""

    name = "topk"

    def codec(self, ratio: float) -> Sparsifier:
        """Return the codec that selects this share."""
        return TopK(ratio)


class TopKCompressor2(TopKCompressor):
    """The same without error feedback."""

    name = "topk2"
    feedback = False


class GaussianCompressor(_ByCodec):
    """``Gaussian``: 2k/3 to 4k/3 elements."""

    name = "gaussian"

    def codec(self, ratio: float) -> Sparsifier:
        """Return the codec that selects this share."""
        return Gaussian(ratio)


class GaussianCompressor2(_ByCodec):
    """The same with up to five adjustments of the threshold, and without error feedback."""

    name = "gaussian2"
    feedback = False

    def codec(self, ratio: float) -> Sparsifier:
        """Return the codec that selects this share."""
        return Gaussian(ratio, adjustments=5)


class RandomKECCompressor(SparseCompressor):
    """k elements at random. The name and the number of the call decide which: every rank draws the same."""

    name = "randomkec"

    def select(self, flat: Tensor, ratio: float, seed: int, history: State) -> tuple[Tensor, State]:
        """Draw."""
        check_density("RandomK", ratio)
        drawn = random_subset(flat.numel(), kept_count(ratio, flat.numel()), seed)
        return drawn.sort().values.to(flat.device), {}


class RandomKCompressor(RandomKECCompressor):
    """The same without error feedback. Values are multiplied by n/k, which makes them unbiased."""

    name = "randomk"
    feedback = False

    def values(self, flat: Tensor, indexes: Tensor) -> Tensor:
        """Return the values to send, rescaled."""
        scale = flat.numel() / max(len(indexes), 1)
        return saturate(flat.index_select(0, indexes).double() * scale, flat.dtype)


class RandomKSameECCompressor(RandomKECCompressor):
    """The same: every rank draws alike, whichever name is asked for."""

    name = "randomksameec"


class RandomKSameCompressor(RandomKECCompressor):
    """The same without error feedback, and the values as they are."""

    name = "randomksame"
    feedback = False


class GTopKCompressor(TopKCompressor):
    """``topk``; what the selection over all workers drops, ``add_residuals`` puts back."""

    name = "gtopk"


class DGCSamplingCompressor(_ByCodec):
    """``DGCSampling``: 0.8k to 4k/3 elements."""

    name = "dgcsampling"

    def codec(self, ratio: float) -> Sparsifier:
        """Return the codec that selects this share."""
        return DGCSampling(ratio)


class RedSyncCompressor(_ByCodec):
    """``RedSync``: k to 2k elements."""

    name = "redsync"

    def codec(self, ratio: float) -> Sparsifier:
        """Return the codec that selects this share."""
        return RedSync(ratio)


class RedSyncTrimCompressor(_ByCodec):
    """``RedSync(trim=True)``: k elements."""

    name = "redsynctrim"

    def codec(self, ratio: float) -> Sparsifier:
        """Return the codec that selects this share."""
        return RedSync(ratio, trim=True)


class HGGTopKCompressor(_ByCodec):
    """``HggTopK``: 0.99k to k elements. Its settings may be set on the class or on an object."""

    name = "hggtopk"
    NUM_BINS: int = 1024
    GAMMA: float = 1000.0
    TOLERANCE: float = 0.01
    BETA: float = 0.98

    def codec(self, ratio: float) -> Sparsifier:
        """Return the codec that selects this share."""
        return HggTopK(ratio, self.NUM_BINS, self.GAMMA, self.TOLERANCE, self.BETA)


class NoneCompressor(SparseCompressor):
    """Everything, whatever the ratio, in the same form: a copy of the tensor, all flat indexes, all values."""

    name = "none"
    feedback = False

    def select(self, flat: Tensor, ratio: float, seed: int, history: State) -> tuple[Tensor, State]:
        """Select everything."""
        return torch.arange(flat.numel(), device=flat.device), {}
