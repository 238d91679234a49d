"""Error feedback: what was not sent is kept and added next time. Law, every round: ``target == sent + residual``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from thinwire.codec import Encoded, Spec, State
from thinwire.kernels import fresh
from thinwire.registry import register


@register
@dataclass(frozen=True)
class ErrorFeedback:
    """Keep all that was not sent (Seide et al. 2014; Karimireddy et al. 2019, arXiv:1901.09847).

    ``decay`` below 1 forgets old residuals geometrically.
    """

    decay: float = 1.0

    keeps: ClassVar[tuple[str, ...]] = ("residual",)

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise ValueError(f"ErrorFeedback: decay is {self.decay!r}, expected more than 0 and at most 1")

    def target(self, x: Tensor, kept: State) -> tuple[Tensor, State]:
        """Return ``x + decay * residual``."""
        return plus(x, kept.get("residual"), self.decay), {}

    def keep(self, left: Tensor | None, pending: State, sent: Encoded) -> State:
        """Return what was not sent."""
        return {} if left is None else {"residual": left}


@register
@dataclass(frozen=True)
class NoFeedback:
    """Forget what was not sent. Right for unbiased codecs, and where a reference carries the error (downlink)."""

    keeps: ClassVar[tuple[str, ...]] = ()

    def target(self, x: Tensor, kept: State) -> tuple[Tensor, State]:
        """Return a copy of x in its working dtype."""
        return plus(x, None), {}

    def keep(self, left: Tensor | None, pending: State, sent: Encoded) -> State:
        """Keep nothing."""
        return {}


def plus(x: Tensor, kept: Tensor | None, factor: float = 1.0, out: Tensor | None = None) -> Tensor:
    """Return ``x + factor * kept`` in x's working dtype, written once: as ``out``, or as a new contiguous tensor."""
    out = fresh.empty(tuple(x.shape), Spec.of(x).working, x.device) if out is None else out
    return out.copy_(x.detach()) if kept is None else torch.add(x.detach(), kept, alpha=factor, out=out)


def plus_each(xs: list[Tensor], kept: list[Tensor | None], factor: float, outs: list[Tensor]) -> None:
    """Write ``plus`` of each to ``outs``, in as few operations as can be: for many that are small."""
    torch._foreach_copy_(outs, xs)
    both = [(out, old) for out, old in zip(outs, kept, strict=True) if old is not None]
    if both:
        sums, residuals = zip(*both, strict=True)
        torch._foreach_add_(sums, residuals, alpha=factor)
