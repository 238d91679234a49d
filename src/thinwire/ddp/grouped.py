"""Gradients of a bucket that one sparse codec takes: which of them go together, and what is left of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State
from thinwire.compressor import Compressor
from thinwire.ddp.state import Memory
from thinwire.ddp.together import joins
from thinwire.errors import NonFiniteError
from thinwire.exchange import Average, Choice, Place
from thinwire.exchange.grouped import Group, Member, groups
from thinwire.feedback import ErrorFeedback
from thinwire.feedback.residual import plus
from thinwire.kernels import dispatch
from thinwire.kernels.distortion import all_finite, energy, is_zero


def sparse(
    specs: Mapping[str, Spec], codecs: Mapping[str, Codec], choices: Mapping[str, Choice], made: Compressor
) -> dict[str, list[str]]:
    """Return, a codec and dtype each, the names that are gathered as one: the same on all ranks."""
    found: dict[tuple[Codec, torch.dtype], list[str]] = {}
    if not joins(made):
        return {}
    for name, spec in specs.items():
        if choices[name].name == "gather" and groups(codecs[name], spec):
            found.setdefault((codecs[name], spec.dtype), []).append(name)
    return {f"gradients by {codec} in {dtype}": names for (codec, dtype), names in found.items()}


def group(
    names: Sequence[str], specs: Mapping[str, Spec], codec: Codec, place: Place, seeds: Mapping[str, int], past: Memory
) -> Group:
    """Return the group of these names, still to be ``filled``."""
    members = {name: Member(specs[name], seeds[name], past.histories.get(name, {})) for name in names}
    return Group(codec, members, place)


def filled(group: Group, gradients: Iterable[tuple[str, Tensor]], made: Compressor, past: Memory) -> Group:
    """Put the sum of each name's gradient and residual into its group, and select.

    Raises NonFiniteError naming who holds what cannot be sent.
    """
    decay = made.feedback.decay if isinstance(made.feedback, ErrorFeedback) else 1.0
    for name, x in gradients:
        # One tensor after the other: what was just written is still in the cache when it is selected from.
        target = group.tensors[name]
        squares = _sum(
            x.detach(), past.kept.get(name, {}).get("residual") if made.feedback.keeps else None, decay, target
        )
        if not math.isfinite(squares) and not all_finite(target):
            raise NonFiniteError(f"{name}: the gradient holds NaN or infinity")
        group.select(name, squares)
    return group


def _sum(x: Tensor, kept: Tensor | None, decay: float, out: Tensor) -> float:
    """Write ``x + decay * kept`` to ``out``; return its energy."""
    if kept is None or decay != 1.0 or not dispatch.can_add(x, kept, out):
        return energy(plus(x, kept, decay, out))
    return dispatch.add(x, kept, out)


def left(group: Group, average: Average, made: Compressor) -> dict[str, State]:
    """Return what feedback keeps of each name of a group, whose exchange came to ``average``."""
    if not made.feedback.keeps:
        return {}
    return {name: {} if is_zero(x) else {"residual": x} for name, x in group.left_(average).items()}
