"""Error feedback: what was not sent is kept and added next time. Law, every round: ``target == sent + residual``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from thinwire.codec import Encoded, Spec
from thinwire.registry import register


class Feedback(Protocol):
    """What a compressor adds to a tensor before encoding, and keeps of it afterwards."""

    def target(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Return a new tensor (working dtype of x) that should be sent."""
        ...

    def residual(self, target: Tensor, unsent: Tensor) -> Tensor | None:
        """Return what to keep: ``unsent`` is ``target - sent``. None keeps nothing."""
        ...


@register
@dataclass(frozen=True)
class ErrorFeedback:
    """Keep all that was not sent (Seide et al. 2014; Karimireddy et al. 2019, arXiv:1901.09847).

    ``decay`` below 1 forgets old residuals geometrically.
    """

    decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise ValueError(f"ErrorFeedback: decay is {self.decay!r}, expected more than 0 and at most 1")

    def target(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Return ``x + decay * residual``."""
        own = x.detach().to(Spec.of(x).working, copy=True).contiguous()
        return own if residual is None else own.add_(residual if self.decay == 1 else residual * self.decay)

    def residual(self, target: Tensor, unsent: Tensor) -> Tensor | None:
        """Return what was not sent."""
        return unsent


@register
@dataclass(frozen=True)
class NoFeedback:
    """Forget what was not sent. Right for unbiased codecs, and where a reference carries the error (downlink)."""

    def target(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Return a copy of x in its working dtype."""
        return x.detach().to(Spec.of(x).working, copy=True).contiguous()

    def residual(self, target: Tensor, unsent: Tensor) -> Tensor | None:
        """Keep nothing."""
        return None


def unsent(target: Tensor, encoded: Encoded) -> Tensor:
    """Return ``target - decode(encoded)`` as a new tensor; sparse codecs need k operations for it."""
    left = target.clone()
    encoded.codec.subtract_(left, encoded)
    return left
