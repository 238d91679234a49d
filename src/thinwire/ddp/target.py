"""What is to be sent of one gradient, and what stays behind once it was sent.

The order matters (another one is known to cost 2 % of accuracy): unscale, clip, what feedback kept, encode, average,
what feedback keeps, scale back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Codec, Encoded, State
from thinwire.compressor import Compressor
from thinwire.ddp.bucket import unscaled
from thinwire.ddp.contribution import contribution
from thinwire.ddp.state import Memory
from thinwire.errors import NonFiniteError
from thinwire.exchange import Average
from thinwire.kernels.distortion import all_finite, energy, is_zero


@dataclass(frozen=True, eq=False)
class Target:
    """What should be sent of a gradient; ``pending`` is feedback's, ``cut`` is what clipping keeps for later."""

    tensor: Tensor
    """In its working dtype."""
    energy: float | None
    """The tensor's, where it is known."""
    pending: State
    cut: Tensor | None

    @classmethod
    def of(cls, gradient: Tensor, kept: State, made: Compressor) -> Target:
        """Return what should be sent of an unscaled gradient. Raises NonFiniteError."""
        given, before = _clipped(gradient, made, incoming=True)
        whole, pending = made.feedback.target(given, kept)
        squares = energy(whole)
        if not math.isfinite(squares) and not all_finite(whole):
            raise NonFiniteError("the gradient holds NaN or infinity")
        target, after = _clipped(whole, made, incoming=False)
        return cls(target, squares if target is whole else None, pending, before if after is None else after)

    def left_(self, average: Average, codec: Codec, made: Compressor) -> State:
        """Return what feedback keeps, once a codec's exchange came to an average. The tensor is used up."""
        sent = average.sent if isinstance(average.sent, Encoded) else contribution(codec, average.sent)
        left = self.tensor
        sent.codec.residual_(left, sent)
        if self.cut is not None:
            left += self.cut
        kept = made.feedback.keep(left, self.pending, sent)
        return {key: x for key, x in kept.items() if not is_zero(x)}


def targets_of(gradients: Mapping[str, Tensor], memory: Memory, made: Compressor, scale: float) -> Mapping[str, Tensor]:
    """Return what would be encoded of each gradient by itself, in new tensors. Raises NonFiniteError."""
    targets = {}
    for name, x in gradients.items():
        try:
            targets[name] = Target.of(unscaled(x, scale), memory.kept.get(name, {}), made).tensor
        except NonFiniteError as error:
            raise NonFiniteError(f"{name}: {error}") from None
    return targets


def _clipped(x: Tensor, made: Compressor, incoming: bool) -> tuple[Tensor, Tensor | None]:
    """Return a tensor as it is clipped before feedback (``incoming``) or after it, and what is kept of the rest."""
    clip = made.clip
    if clip is None or clip.incoming != incoming:  # a clip is one of the two
        return x, None
    clipped = clip.apply({"its gradient": x})["its gradient"]
    return clipped, x - clipped if clip.keep and clipped is not x else None
