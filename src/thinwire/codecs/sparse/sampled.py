"""DGC's sampled selection: the threshold of a sample is that of the tensor, nearly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from thinwire.codec import Codec
from thinwire.codecs.sparse.guessed import Guessed
from thinwire.kernels import select
from thinwire.kernels.select.sample import spread
from thinwire.registry import child

_LEAST_RANK = 256
"""Of the threshold in the sample. Its error is about one in the square root of this: 6 %."""


@dataclass(frozen=True)
class DGCSampling(Guessed, id="dgcsampling"):
    """What reaches a sample's quantile (Lin et al. 2018, arXiv:1712.01887): 0.8k to 4k/3 elements.

    ``sample`` is the share of the elements to look at; it is more where fewer than 256 of them would be among the k
    largest. Where the sample misleads, exactly those are selected, k being ``max(1, int(density * n))``.
    """

    density: float
    sample: float = 0.01
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    least, most = Fraction(4, 5), Fraction(4, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.sample, int | float) or not 0 < self.sample <= 1:
            raise ValueError(f"DGCSampling: sample is {self.sample!r}, expected more than 0 and at most 1")

    def guess(self, flat: Tensor, k: int) -> tuple[float, int]:
        """Count from the magnitude on whose rank in the sample is k's in the tensor."""
        numel = flat.numel()
        sampled = spread(flat, max(int(self.sample * numel), _LEAST_RANK * numel // k))
        rank = math.ceil(k * sampled.numel() / numel)
        threshold = float(sampled[select.largest(sampled, rank)].min())
        return threshold, select.count_at_least(flat, threshold)
