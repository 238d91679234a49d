"""One step of a sender: add the gradient to the residual, select, take values and indices out, clear what is sent."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from thinwire.codec import State
from thinwire.codecs import RandomK
from thinwire.codecs.sparse.pairs import Sparsifier, kept_count
from thinwire.kernels.permutation import random_subset
from thinwire.lab.bench.methods import Method


@dataclass
class Sender:
    """A method (at its density, which torch.topk is told apart) and its state for one tensor."""

    method: Method
    density: float
    residual: Tensor
    history: State = field(default_factory=dict)

    def step(self, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return (indices int64, values) of what is sent. Without error feedback the residual stays zero."""
        if not self.method.feedback:
            indices = self._select(x, seed)
            return indices, x[indices]
        indices = self._accumulate(x, seed)
        values = self.residual[indices]
        self.residual[indices] = 0
        return indices, values

    def target(self, x: Tensor) -> Tensor:
        """Return what the next step selects from, as a new tensor."""
        return self.residual + x

    def _accumulate(self, x: Tensor, seed: int) -> Tensor:
        codec = self.method.codec
        if isinstance(codec, Sparsifier):
            indices, self.history = codec.accumulate(self.residual, x, seed, self.history)
            return indices
        return self._select(self.residual.add_(x), seed)

    def _select(self, flat: Tensor, seed: int) -> Tensor:
        codec, k = self.method.codec, kept_count(self.density, flat.numel())
        if isinstance(codec, Sparsifier):
            indices, self.history = codec.select(flat, seed, self.history)
            return indices
        if isinstance(codec, RandomK):
            return random_subset(flat.numel(), k, seed)
        return torch.topk(flat.abs(), k, sorted=False).indices
