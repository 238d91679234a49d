"""What the named compressors share: residuals by name, in place, and the calls that scripts know."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from thinwire.codec import Spec, State, derive_seed
from thinwire.errors import NonFiniteError, unknown
from thinwire.kernels import fresh
from thinwire.kernels.narrow import saturate
from thinwire.kernels.select import moments

Name = str | None


class SparseCompressor(ABC):
    """Selects elements of a gradient. With ``feedback``, adds what earlier calls of the same name did not select."""

    feedback: ClassVar[bool] = True

    def __init__(self) -> None:
        self.residuals: dict[Name, Tensor] = {}
        """Name -> what was not sent, in the tensor's shape and working dtype. ``compress`` changes it in place."""
        self._histories: dict[Name, State] = {}
        self._calls: dict[Name, int] = {}
        self._sent: dict[Name, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def select(self, flat: Tensor, ratio: float, seed: int, history: State) -> tuple[Tensor, State]:
        """Return the indices (int64, ascending) to send of a finite 1-D tensor, and what to remember."""

    def values(self, flat: Tensor, indexes: Tensor) -> Tensor:
        """Return the values to send."""
        return flat.index_select(0, indexes)

    def compress(
        self, tensor: Tensor, name: Name = None, ratio: float = 0.05, *, sigma_scale: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return gradient plus residual (a new tensor of its shape and dtype), flat int64 indexes, and their values.

        ``ratio`` is the share of the elements to select. ``sigma_scale`` may be given since scripts do; no rule ever
        read it. Raises NonFiniteError where the tensor holds NaN or infinity, and ValueError where the residual of this
        name has another shape or dtype; neither changes any state.
        """
        target = self._target(tensor.detach(), name)
        sendable = saturate(target, tensor.dtype)
        if sendable.numel() and not math.isfinite(moments.largest_magnitude(sendable.view(-1))):
            raise NonFiniteError(f"{name}: the tensor, or its sum with the residual, holds NaN or infinity")
        flat, calls = sendable.view(-1), self._calls.get(name, 0)
        indexes, history = self.select(flat, ratio, derive_seed(calls, name or ""), self._histories.get(name, {}))
        values = self.values(flat, indexes)
        self._calls[name], self._histories[name] = (calls + 1) % (1 << 32), history
        if self.feedback:
            self._keep(name, target, indexes, values)
        return sendable, indexes, values

    def decompress(self, tensor: Tensor, ctc: object = None, name: Name = None) -> Tensor:
        """Return the tensor as it is: nothing was encoded."""
        return tensor

    def add_residuals(self, included_indexes: Tensor | Sequence[int], name: Name = None) -> None:
        """Put back into the residual what the last call selected and a selection over all workers then dropped.

        ``included_indexes`` are the positions in that call's ``values`` that were not dropped; ``indexes`` and
        ``values`` must be as they were returned. A second time, or without error feedback, there is nothing to put
        back. Raises ValueError for a name that was never compressed.
        """
        if name not in self._calls:
            raise ValueError(unknown("tensor", str(name), map(str, self._calls)))
        if name in self._sent:
            indexes, values = self._sent.pop(name)
            dropped = torch.ones(len(indexes), dtype=torch.bool, device=indexes.device)
            dropped[torch.as_tensor(included_indexes, dtype=torch.int64, device=indexes.device)] = False
            residual = self.residuals[name]
            residual.view(-1)[indexes[dropped]] += values[dropped].to(residual.dtype)

    def clear(self, *names: Name) -> None:
        """Forget all state, or that of these names."""
        tables: tuple[dict[Name, Any], ...] = (self.residuals, self._histories, self._calls, self._sent)
        for table in tables:
            for name in names or list(table):
                table.pop(name, None)

    def _target(self, x: Tensor, name: Name) -> Tensor:
        if not x.dtype.is_floating_point:
            raise TypeError(f"{name}: the tensor is {x.dtype}, expected floats")
        out, residual = fresh.empty(tuple(x.shape), Spec.of(x).working, x.device), self.residuals.get(name)
        if residual is None:
            return out.copy_(x)
        if Spec.of(residual) != Spec.of(out):
            raise ValueError(
                f"the residual of {name!r} is {Spec.of(residual)}, the tensor {Spec.of(x)}: clear it first"
            )
        return torch.add(residual, x, out=out)

    def _keep(self, name: Name, target: Tensor, indexes: Tensor, values: Tensor) -> None:
        if name not in self.residuals:
            self.residuals[name] = fresh.empty(tuple(target.shape), target.dtype, target.device)
        self.residuals[name].copy_(target).view(-1)[indexes] -= values.to(target.dtype)
        self._sent[name] = indexes, values
