"""The few elements among which a tensor's k largest are: for rules that look at magnitudes more than once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thinwire.kernels import select
from thinwire.kernels.select import reference


@dataclass(frozen=True)
class Candidates:
    """Elements of a tensor that exceed some magnitude, all of those: indices (int64, ascending) and magnitudes."""

    places: Tensor
    magnitudes: Tensor
    kernels: Any
    """Those of the tensor: few candidates of a large tensor are still not worth a slower way."""

    def count_at_least(self, threshold: float) -> int:
        """Return how many magnitudes are at least ``threshold``."""
        return int(self.kernels.count_at_least(self.magnitudes, threshold))

    def take_at_least(self, threshold: float, count: int) -> Tensor:
        """Return the tensor's indices of the ``count`` of at least ``threshold``; as ``take_largest``."""
        if self.kernels is reference:
            return self.places.index_select(0, reference.at_least(self.magnitudes, threshold))
        return torch.from_numpy(self.kernels.front(self.places.numpy(), self.magnitudes, threshold)[:count])

    def take_largest(self, k: int, low: float, high: float) -> Tensor:
        """Return the tensor's indices of the k largest, ascending: moved to the front, so that these are spent.

        The k-th must be at least ``low``; ``high`` is a guess of what it does not exceed.
        """
        if self.kernels is reference:
            return self.places.index_select(0, reference.largest(self.magnitudes, k))
        from thinwire.kernels.select import cpu, patterns
        from thinwire.kernels.select.guess import Guess

        dtype = self.magnitudes.dtype
        between = Guess(int(patterns.bound_of(low, dtype)), int(patterns.bound_of(high, dtype)), 0)
        return cpu.refine(self.places.numpy(), patterns.bits_of(self.magnitudes), between, k, dtype)


def candidates(x: Tensor, k: int, added: Tensor | None = None) -> Candidates:
    """Return k elements of ``x`` or a few more, the k largest among them.

    ``x`` is 1-D and contiguous. ``added`` is added to ``x`` in place first, in the same sweep.
    """
    kernels = select.kernels_for(x)
    if added is not None and (kernels is reference or added.dtype != x.dtype or x.itemsize < 4):
        x, added = x.add_(added), None
    if kernels is not reference and (found := kernels.gather(x, added, k)):
        places, magnitudes, _ = found
        return Candidates(torch.from_numpy(places), torch.from_numpy(magnitudes).view(x.dtype), kernels)
    places = select.largest(x, k)
    return Candidates(places, x.index_select(0, places).abs_(), kernels)
