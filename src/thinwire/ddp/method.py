"""What the user may name as a method, and which of it gradients of data-parallel training can take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinwire.codec import Codec, Spec
from thinwire.compressor import Compressor
from thinwire.policy import Policy, Signals
from thinwire.zoo import compressor, zoo

_SHARED = ("round",)
"""What all ranks know alike: a policy that looks at more would plan differently on each."""


def resolved(method: str | Codec | Policy | Compressor, density: float | None) -> Compressor:
    """Return the compressor that a name, a description, a codec, a policy or a compressor stands for.

    Raises ValueError on what is unknown, and where ``density`` is given beside what is not the
    name of a method that has one.
    """
    if density is not None:
        if not isinstance(method, str) or method not in zoo:
            raise ValueError(f"density goes with the name of a method, not with {method!r}: state it there")
        return compressor(zoo.method(method, density))
    return compressor(method)


def check(made: Compressor, specs: Mapping[str, Spec]) -> None:
    """Raise ValueError where a compressor needs what a rank does not know, or ranks do not share."""
    try:
        made.policy.plan(specs, _SharedSignals())
    except _LookedError as looked:
        raise ValueError(
            f"{made.policy!r} looks at signals.{looked}, which differs between ranks or is not known: gradients of "
            "data-parallel training need a policy that looks at shapes and the step only, such as Fixed or WarmUp"
        ) from None
    if made.clip is not None and made.clip.norm is not None:
        raise ValueError(
            f"{made.clip!r}: gradients are sent bucket by bucket, before their norm is known; use Clip(value=...), or "
            "torch.nn.utils.clip_grad_norm_ after backward"
        )


class _LookedError(Exception):
    """A policy looked at a signal that it must not."""


class _SharedSignals(Signals):
    """Signals of which nothing but what all ranks share may be looked at."""

    def __getattribute__(self, name: str) -> Any:
        if name in Signals.__dataclass_fields__ and name not in _SHARED:
            raise _LookedError(name)
        return super().__getattribute__(name)
