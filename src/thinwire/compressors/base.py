"""What the named compressors share: residuals by name, in place, and the calls that scripts know."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from thinwire.codec import Spec, State, derive_seed
from thinwire.compressors.calls import OfClassToo, callable_on_class, plain_number
from thinwire.errors import NonFiniteError, unknown
from thinwire.kernels import fresh
from thinwire.kernels.narrow import saturate
from thinwire.kernels.select import moments

Name = str | None


class SparseCompressor(ABC):
    """Selects elements of a gradient. With ``feedback``, adds what earlier calls of the same name did not select.

    Scripts call on classes what they call on objects: a class then stands for one object of its own, which is also the
    one in ``compressors``.
    """

    name: ClassVar[str] = ""
    feedback: ClassVar[bool] = True
    residuals: OfClassToo[dict[Name, Tensor]] = OfClassToo()
    """Name -> what was not sent, in the tensor's shape and working dtype. ``compress`` changes it in place."""

    def __init__(self) -> None:
        self.residuals = {}
        self._histories: dict[Name, State] = {}
        self._calls: dict[Name, int] = {}
        self._sent: dict[Name, tuple[Tensor, Tensor]] = {}

    def __call__(self) -> Self:
        """Return a new object: ``compressors["topk"]()``, as where that was a class."""
        return type(self)()

    @classmethod
    def shared(cls) -> Self:
        """Return the one object that the class stands for."""
        if cls not in _SHARED:
            _SHARED[cls] = cls()
        return _SHARED[cls]  # type: ignore[return-value]

    @abstractmethod
    def select(self, flat: Tensor, ratio: float, seed: int, history: State) -> tuple[Tensor, State]:
        """Return the indices (int64, ascending) to send of a finite 1-D tensor, and what to remember."""

    def values(self, flat: Tensor, indexes: Tensor) -> Tensor:
        """Return the values to send."""
        return flat.index_select(0, indexes)

    @callable_on_class
    def compress(
        self, tensor: Tensor, name: Name = None, sigma_scale: float | None = None, ratio: float = 0.05
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return gradient plus residual (a new tensor of its shape and dtype), flat int64 indexes, and their values.

        ``ratio`` is the share of the elements to select, a number of Python, numpy or torch. ``sigma_scale`` may be
        given, by its name or third, since scripts do; no rule ever read it. Raises NonFiniteError where the tensor
        holds NaN or infinity, and ValueError where the residual of this name has another shape or dtype; neither
        changes any state.
        """
        ratio = plain_number(ratio)
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

    @callable_on_class
    def decompress(self, tensor: Tensor, ctc: object = None, name: Name = None) -> Tensor:
        """Return the tensor as it is: nothing was encoded."""
        return tensor

    @callable_on_class
    def get_residuals(self, name: Name, like_tensor: Tensor) -> Tensor:
        """Return the residual of a name, which may be changed in place; zeros for a tensor where there is none yet."""
        if name not in self.residuals:
            spec = Spec.of(like_tensor)
            self.residuals[name] = torch.zeros(spec.shape, dtype=spec.working, device=like_tensor.device)
        return self.residuals[name]

    @callable_on_class
    def add_residuals(
        self, included_indexes: Tensor | Sequence[int] | None, name: Name = None, full_mean: object = None
    ) -> None:
        """Put back into the residual what the last call selected and a selection over all workers then dropped.

        ``included_indexes`` are the positions in that call's ``values`` that were not dropped (None: none was);
        ``indexes`` and ``values`` must be as they were returned. ``full_mean`` may be given since scripts do; it is not
        read. A second time, or without error feedback, there is nothing to put back. Raises ValueError for a name that
        was never compressed.
        """
        if name not in self._calls:
            raise ValueError(unknown("tensor", str(name), map(str, self._calls)))
        if name in self._sent and included_indexes is not None:
            indexes, values = self._sent.pop(name)
            dropped = torch.ones(len(indexes), dtype=torch.bool, device=indexes.device)
            dropped[torch.as_tensor(included_indexes, dtype=torch.int64, device=indexes.device)] = False
            residual = self.residuals[name]
            residual.view(-1)[indexes[dropped]] += values[dropped].to(residual.dtype)

    @callable_on_class
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


_SHARED: dict[type[SparseCompressor], SparseCompressor] = {}
