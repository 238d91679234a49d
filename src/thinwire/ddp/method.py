"""What the user may name as a method, and which of it gradients of data-parallel training can take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from thinwire.codec import Codec, Spec
from thinwire.compressor import Compressor
from thinwire.policy import Policy, Signals
from thinwire.zoo import compressor, zoo

_OWN = frozenset(field.name for field in fields(Signals)) - {"round"}
"""Signals that are a rank's own: all know the step alike."""

_AUTO = "Compressor(Fixed(Step(nmse=0.2, symbols=Ans()), small=BitRound()), ErrorFeedback())"
"""The quantizer of ``zoo["auto"]``; its other option finds the rank of every matrix, which no step has time for."""


def resolved(method: str | Codec | Policy | Compressor, density: float | None) -> Compressor:
    """Return the compressor that a name, a description, a codec, a policy or a compressor stands for.

    ``auto`` is the one for gradients. Raises ValueError on what is unknown, and where ``density`` is given beside what
    is not the name of a method that has one.
    """
    if density is not None:
        if not isinstance(method, str) or method not in zoo:
            raise ValueError(f"density goes with the name of a method, not with {method!r}: state it there")
        return compressor(zoo.method(method, density))
    return compressor(_AUTO if isinstance(method, str) and method == "auto" else method)


def check(made: Compressor, specs: Mapping[str, Spec]) -> None:
    """Raise ValueError where a compressor needs what a bucket does not know, or its policy has no plan for tensors."""
    looks(made.policy, specs)
    if made.clip is not None and made.clip.norm is not None:
        raise ValueError(
            f"{made.clip!r}: gradients are sent bucket by bucket, before their norm is known; use Clip(value=...), or "
            "torch.nn.utils.clip_grad_norm_ after backward"
        )


def looks(policy: Policy, specs: Mapping[str, Spec], at: Collection[str] = _OWN) -> bool:
    """Return whether a policy looks at some signals; by default, those that differ between ranks.

    Such a policy would plan differently on each.
    """
    signals = _watched(at)
    try:
        for ask in (getattr(policy, "options", None), policy.plan):
            if ask is not None:
                ask(specs, signals)
    except _LookedError:
        return True
    return False


class _LookedError(Exception):
    """A policy looked at a signal that is watched."""


def _watched(names: Collection[str]) -> Signals:
    """Return signals of which some must not be looked at."""

    class Watched(Signals):
        def __getattribute__(self, name: str) -> Any:
            if name in names:
                raise _LookedError(name)
            return super().__getattribute__(name)

    return Watched()
