"""What both ends know of a tensor before a payload arrives, and what a sender remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]
"""Private memory of a sender, flat: it fits checkpoints and Flower's ``Context.state``. Decoding never needs it."""

VARIABLE = -1
"""Length of a part that does not follow from the spec; the wire carries it."""


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of a tensor: what both ends know before a payload arrives."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Number of elements; 1 for a 0-d tensor."""
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def nbytes(self) -> int:
        """Dense size in bytes."""
        return self.numel * self.dtype.itemsize

    @property
    def working(self) -> torch.dtype:
        """Dtype that lossy arithmetic uses: float64 for float64 tensors, float32 for every other float."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @classmethod
    def of(cls, x: Tensor) -> Spec:
        """Return the spec of a tensor."""
        return cls(tuple(x.shape), x.dtype)


Specs = dict[str, Spec]


def specs(tensors: Mapping[str, Tensor]) -> Specs:
    """Return name -> Spec for name -> tensor: the schema that two ends of a link share."""
    return {name: Spec.of(x) for name, x in tensors.items()}
