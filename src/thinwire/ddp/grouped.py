"""Gradients of a bucket that one codec takes go as one, where each comes to what it would alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from thinwire.codec import Codec, State
from thinwire.ddp.bucket import Bucket
from thinwire.errors import NonFiniteError
from thinwire.exchange import Average, Exchange
from thinwire.exchange.group import Group, Member
from thinwire.exchange.level_group import LevelGroup
from thinwire.exchange.sparse_group import SparseGroup
from thinwire.feedback import ErrorFeedback
from thinwire.feedback.residual import plus_each
from thinwire.kernels import dispatch
from thinwire.kernels.distortion import all_finite, energies, is_zero

_KINDS: tuple[type[Group], ...] = (SparseGroup, LevelGroup)
_RUN = 1 << 16
"""Elements: 256 KiB in float32."""


def grouped(bucket: Bucket) -> list[Grouped]:
    """Return, a codec and dtype each, what goes as one: the same on all ranks."""
    found: dict[tuple[type[Group], Codec, torch.dtype], list[str]] = {}
    for name, spec in bucket.specs.items():
        codec = bucket.codecs[name]
        kind = next((kind for kind in _KINDS if kind.takes(codec, spec, bucket.place.world)), None)
        if kind:
            found.setdefault((kind, codec, spec.dtype), []).append(name)
    return [Grouped(bucket, kind, names) for (kind, _, _), names in found.items()]


class Grouped:
    """Gradients of one codec and one dtype."""

    def __init__(self, bucket: Bucket, kind: type[Group], names: Sequence[str]) -> None:
        self._bucket, self.names = bucket, names
        members = {name: Member(bucket.specs[name], bucket.seed(name), bucket.history(name)) for name in names}
        self._group = kind(bucket.codecs[names[0]], members, bucket.place)

    def __str__(self) -> str:
        group = self._group
        return f"gradients by {group.codec} in {group.flat.dtype}"

    def exchange(self) -> Exchange:
        """Average them as one. Raises NonFiniteError naming who holds what cannot be sent."""
        for names in self._runs():
            squares = self._fill(names)
            for name, energy_ in zip(names, squares, strict=True):
                if not math.isfinite(energy_) and not all_finite(self._group.tensors[name]):
                    raise NonFiniteError(f"{name}: the gradient holds NaN or infinity")
            self._group.select(names, squares)
        return self._group.exchange()

    def apart(self, average: Average) -> dict[str, Average]:
        """Return each one's own part."""
        return self._group.apart(average)

    def left(self, average: Average) -> dict[str, State]:
        """Return what feedback keeps of each."""
        if not self._bucket.made.feedback.keeps:
            return {}
        return {name: {} if is_zero(x) else {"residual": x} for name, x in self._group.left_(average).items()}

    def _runs(self) -> Iterator[list[str]]:
        """Yield consecutive names: as many as together stay in the cache from the sum to the selection."""
        run, elements = list[str](), 0
        for name in self.names:
            count = self._bucket.specs[name].numel
            if run and elements + count > _RUN:
                yield run
                run, elements = [], 0
            run, elements = [*run, name], elements + count
        yield run

    def _fill(self, names: Sequence[str]) -> list[float]:
        """Put the sums of gradients and their residuals into the group's tensors; return their energies."""
        feedback, bucket = self._bucket.made.feedback, self._bucket
        outs, xs = [self._group.tensors[name] for name in names], [bucket.unscaled(name).detach() for name in names]
        kept = [bucket.kept(name).get("residual") if feedback.keeps else None for name in names]
        decay = feedback.decay if isinstance(feedback, ErrorFeedback) else 1.0
        if len(names) == 1 and decay == 1.0 and kept[0] is not None and dispatch.can_add(xs[0], kept[0], outs[0]):
            return [dispatch.add(xs[0], kept[0], outs[0])]
        plus_each(xs, kept, decay, outs)
        return energies(self._group.between(names), [out.numel() for out in outs])
