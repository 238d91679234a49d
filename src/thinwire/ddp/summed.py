"""Small gradients that go as they are, as one tensor: most parameters of a model are small, and each costs its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from thinwire.codec import Encoded, Spec, State, decode
from thinwire.codecs.raw import Raw
from thinwire.ddp.bucket import Bucket
from thinwire.errors import NonFiniteError
from thinwire.exchange import Average, Exchange, Place
from thinwire.exchange.requests import Gather, Sum
from thinwire.exchange.sums import added
from thinwire.kernels.distortion import all_finite

_FEW_BYTES = 1 << 18


def summed(bucket: Bucket) -> dict[str, list[str]]:
    """Return, a dtype each, the names that are summed without loss: the same on all ranks."""
    found: dict[str, list[str]] = {}
    for name, spec in bucket.specs.items():
        if bucket.choices[name].name == "sum" and bucket.codecs[name] == Raw() and spec.dtype == spec.working:
            found.setdefault(f"small gradients in {spec.dtype}", []).append(name)
    return found


class Summed:
    """Gradients of one dtype of which nothing is kept: each comes to the same bits as alone."""

    def __init__(self, bucket: Bucket, names: Sequence[str]) -> None:
        self._bucket, self._names = bucket, names

    def exchange(self) -> Exchange:
        """Average them as one. Raises NonFiniteError naming who holds what cannot be sent."""
        return _averaged(_joined({name: self._whole(name) for name in self._names}), self._bucket.place)

    def apart(self, average: Average) -> dict[str, Average]:
        """Return each one's own part, as views."""
        specs = [self._bucket.specs[name] for name in self._names]
        counts = [spec.numel for spec in specs]
        parts = zip(torch.split(average.mean, counts), torch.split(average.contributed, counts), strict=True)
        own = [Average(m.view(s.shape), c.view(s.shape), {}) for s, (m, c) in zip(specs, parts, strict=True)]
        return dict(zip(self._names, own, strict=True))

    def left(self, average: Average) -> dict[str, State]:
        """Return what is left: nothing."""
        return {}

    def _whole(self, name: str) -> Tensor:
        """Return a gradient and what was kept of it while another codec took it."""
        x, kept = self._bucket.unscaled(name), self._bucket.kept(name)
        return self._bucket.made.feedback.target(x, kept)[0] if kept else x


def _joined(targets: Mapping[str, Tensor]) -> Tensor:
    flat = torch.cat([x.detach().reshape(-1) for x in targets.values()])
    if not all_finite(flat):
        bad = next(name for name, x in targets.items() if not all_finite(x))
        raise NonFiniteError(f"{bad}: the gradient holds NaN or infinity")
    return flat


def _averaged(flat: Tensor, place: Place) -> Exchange:
    """Average a tensor without loss.

    Two ranks send as many bytes in a gather as in a sum; where they are few they so go with the other tensors', and the
    bucket takes one operation instead of two.
    """
    part = flat / place.world
    if place.world == 2 and part.nbytes <= _FEW_BYTES:
        spec = Spec.of(part)
        replies: list[Encoded] = yield Gather(Encoded(Raw(), spec, {"data": part}), (spec, spec))
        return Average(added([decode(reply) for reply in replies]), flat, {})
    total: list[Tensor] = yield Sum((part,))
    return Average(total[0], flat, {})
