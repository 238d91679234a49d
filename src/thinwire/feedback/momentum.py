"""Momentum where elements are sent rarely: each worker accumulates its own velocity and sends from the accumulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from thinwire.codec import Encoded, State
from thinwire.feedback.residual import plus
from thinwire.registry import register


@register
@dataclass(frozen=True)
class MomentumCorrection:
    """Deep Gradient Compression's momentum correction and factor masking (Lin et al. 2018, arXiv:1712.01887).

    For gradients, and in place of the optimizer's own momentum. Of a gradient g, with velocity u and residual v::

        u = momentum * u + g,  v = v + u            (nesterov: u = momentum * (u + g),  v = v + u + g)
        send C(v),  v = v - C(v),  and with masking u = 0 at the elements that a sparse codec sent

    Codecs that are not sparse mask nothing: what they send in full carries plain momentum. The ledger: a gradient is
    worth ``g / (1 - momentum)`` in the end, and at every element, in every round,

        sent + v' + m * u' / (1 - m) == v + m * u / (1 - m) + g / (1 - m),    m = momentum,

    with u' as it is before masking; masking then drops the ``m * u' / (1 - m)`` of the elements that were sent: their
    momentum would be stale. With a momentum of 0 this is ``ErrorFeedback()``.
    """

    momentum: float = 0.9
    nesterov: bool = False
    masking: bool = True

    keeps: ClassVar[tuple[str, ...]] = ("residual", "velocity")

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"MomentumCorrection: momentum is {self.momentum!r}, expected 0 <= momentum < 1")

    def target(self, x: Tensor, kept: State) -> tuple[Tensor, State]:
        """Return v and u, before anything is sent."""
        factor = 1.0 if self.nesterov else self.momentum
        velocity = plus(x, kept.get("velocity"), factor)
        if self.nesterov:
            velocity.mul_(self.momentum)
        target = plus(velocity, kept.get("residual"))
        return target.add_(x.detach()) if self.nesterov else target, {"velocity": velocity}

    def keep(self, left: Tensor | None, pending: State, sent: Encoded) -> State:
        """Return what was not sent as ``residual`` and, masked, the ``velocity``."""
        velocity = pending["velocity"]
        sparse = sent.codec.nonzeros(sent) if self.masking else None
        if sparse is not None:
            velocity.view(-1).index_fill_(0, sparse[0].to(velocity.device), 0.0)
        if sent.codec.lossless:
            # Only a lossless codec sends NaN and infinity: they arrive, and must not haunt later rounds.
            velocity.nan_to_num_(0.0, 0.0, 0.0)
        return pending if left is None else {"residual": left, **pending}
