"""Gradients of a bucket that one sparse codec takes go as one; each is selected by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from thinwire.codec import Codec, State
from thinwire.ddp.bucket import Bucket
from thinwire.errors import NonFiniteError
from thinwire.exchange import Average, Exchange
from thinwire.exchange.grouped import Group, Member, groups
from thinwire.feedback import ErrorFeedback
from thinwire.feedback.residual import plus
from thinwire.kernels import dispatch
from thinwire.kernels.distortion import all_finite, energy, is_zero


def grouped(bucket: Bucket) -> dict[str, list[str]]:
    """Return, a codec and dtype each, the names that are gathered as one: the same on all ranks."""
    found: dict[tuple[Codec, torch.dtype], list[str]] = {}
    for name, spec in bucket.specs.items():
        if bucket.choices[name].name == "gather" and groups(bucket.codecs[name], spec):
            found.setdefault((bucket.codecs[name], spec.dtype), []).append(name)
    return {f"gradients by {codec} in {dtype}": names for (codec, dtype), names in found.items()}


class Grouped:
    """Gradients of one sparse codec and one dtype."""

    def __init__(self, bucket: Bucket, names: Sequence[str]) -> None:
        self._bucket, self.names = bucket, names
        members = {name: Member(bucket.specs[name], bucket.seed(name), bucket.history(name)) for name in names}
        self._group = Group(bucket.codecs[names[0]], members, bucket.place)

    def exchange(self) -> Exchange:
        """Average them as one. Raises NonFiniteError naming who holds what cannot be sent."""
        for name in self.names:
            # One tensor after the other: what was just written is still in the cache when it is selected from.
            target = self._group.tensors[name]
            squares = self._fill(name, target)
            if not math.isfinite(squares) and not all_finite(target):
                raise NonFiniteError(f"{name}: the gradient holds NaN or infinity")
            self._group.select(name, squares)
        return self._group.exchange()

    def apart(self, average: Average) -> dict[str, Average]:
        """Return each one's own part."""
        return self._group.apart(average)

    def left(self, average: Average) -> dict[str, State]:
        """Return what feedback keeps of each."""
        if not self._bucket.made.feedback.keeps:
            return {}
        return {name: {} if is_zero(x) else {"residual": x} for name, x in self._group.left_(average).items()}

    def _fill(self, name: str, out: Tensor) -> float:
        """Put the sum of a gradient and its residual into ``out``; return its energy."""
        x, feedback = self._bucket.unscaled(name).detach(), self._bucket.made.feedback
        kept = self._bucket.kept(name).get("residual") if feedback.keeps else None
        decay = feedback.decay if isinstance(feedback, ErrorFeedback) else 1.0
        if kept is None or decay != 1.0 or not dispatch.can_add(x, kept, out):
            return energy(plus(x, kept, decay, out))
        return dispatch.add(x, kept, out)
