"""Small gradients that go as they are, as one tensor: most parameters of a model are small, and each costs its time."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, decode
from thinwire.codecs.raw import Raw
from thinwire.compressor import Compressor
from thinwire.errors import NonFiniteError
from thinwire.exchange import Average, Choice, Place
from thinwire.exchange.requests import Gather, Request, Sum
from thinwire.exchange.sums import added
from thinwire.feedback import ErrorFeedback, NoFeedback
from thinwire.kernels.distortion import all_finite

_FEW_BYTES = 1 << 18

Group = Generator[Request, list[Any], Average]


def plain(
    specs: Mapping[str, Spec],
    codecs: Mapping[str, Codec],
    choices: Mapping[str, Choice],
    made: Compressor,
) -> dict[str, list[str]]:
    """Return, a dtype each, the names that are summed without loss: the same on all ranks. Nothing of them is kept."""
    groups: dict[str, list[str]] = {}
    if not joins(made):
        return groups
    for name, spec in specs.items():
        summed = choices[name].name == "sum" and codecs[name] == Raw()
        if summed and spec.dtype == spec.working:
            groups.setdefault(f"small gradients in {spec.dtype}", []).append(name)
    return groups


def joins(made: Compressor) -> bool:
    """Return whether what is sent of a gradient is only it and its residual: then several may go as one tensor."""
    return made.clip is None and isinstance(made.feedback, ErrorFeedback | NoFeedback)


def joined(targets: Mapping[str, Tensor]) -> Tensor:
    """Return name -> what should be sent as one new 1-D tensor. Raises NonFiniteError naming who holds what cannot."""
    flat = torch.cat([x.detach().reshape(-1) for x in targets.values()])
    if not all_finite(flat):
        bad = next(name for name, x in targets.items() if not all_finite(x))
        raise NonFiniteError(f"{bad}: the gradient holds NaN or infinity")
    return flat


def together(flat: Tensor, place: Place) -> Group:
    """Average what was ``joined``: the same bits as one by one.

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


def apart(average: Average, names: Sequence[str], specs: Mapping[str, Spec]) -> dict[str, Average]:
    """Return each one's own part of what they came to ``together``: views."""
    counts = [specs[name].numel for name in names]
    parts = zip(names, torch.split(average.mean, counts), torch.split(average.contributed, counts), strict=True)
    return {name: Average(mean.view(specs[name].shape), sent.view(specs[name].shape), {}) for name, mean, sent in parts}
