"""The mean of sparse tensors, never dense: written and taken apart in as many operations as elements were sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Spec
from thinwire.errors import WireError
from thinwire.kernels import fresh
from thinwire.kernels.distortion import all_finite

Pair = tuple[Tensor, Tensor]
"""Indices (int64, distinct) into a flat tensor, and the values there."""


@dataclass(frozen=True, eq=False)
class Scattered:
    """The mean over ranks of sparse tensors of one spec; ``pairs`` has a ``Pair`` for each rank, in rank order."""

    spec: Spec
    pairs: Sequence[Pair]

    def dense(self) -> Tensor:
        """Return the mean in the working dtype."""
        return self._added_to(fresh.zeros(self.spec.shape, self.spec.working))

    def fits(self, out: Tensor) -> bool:
        """Return whether ``write`` takes a tensor."""
        return out.dtype == self.spec.working and out.device.type == "cpu" and out.is_contiguous()

    def write(self, out: Tensor, factor: float = 1.0) -> None:
        """Put ``factor`` times the mean into a contiguous tensor of the working dtype."""
        self._added_to(out.zero_())
        if factor != 1.0:
            out.mul_(factor)

    def _added_to(self, out: Tensor) -> Tensor:
        flat = out.view(-1)
        for indices, values in self.pairs:
            # Divided before they are added, so that no sum overflows.
            flat.index_add_(0, indices, values.to(out.dtype) / len(self.pairs))
        return out


def checked_pair(pair: Pair, spec: Spec) -> Pair:
    """Return what a rank sent. Raises WireError on indices outside of the tensor, and on NaN and infinity."""
    indices, values = pair
    low, high = indices.aminmax() if indices.numel() else (0, -1)
    if low < 0 or high >= spec.numel:
        raise WireError(f"indices from {int(low)} to {int(high)} into a tensor of {spec.numel} elements")
    if not all_finite(values):
        raise WireError("a decoded value is not finite")
    return indices, values
