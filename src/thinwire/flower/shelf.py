"""What a client holds of the server's models, and how it follows a package to the next one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import specs
from thinwire.delta import add, zeros
from thinwire.errors import WireError
from thinwire.flower.package import KEYFRAME, NOTHING, SNAPSHOT, Package, Step, model_hash
from thinwire.wire import Limits, decode_message, loads, loads_any

Tensors = dict[str, Tensor]
MISSING = "thinwire: reference is missing"
"""What a client's error says when it lost its state, and how the server recognizes that."""


@dataclass(frozen=True)
class Reference:
    """A model that clients can hold."""

    tensors: Tensors
    id: bytes

    @classmethod
    def of(cls, tensors: Tensors) -> Reference:
        """Return the reference of these tensors."""
        return cls(tensors, model_hash(tensors))


@dataclass(frozen=True)
class Shelf:
    """The client's side: the last model that it received and the last keyframe."""

    current: Reference | None = None
    keyframe: Reference | None = None

    def find(self, base: bytes) -> Reference | None:
        """Return the reference whose id starts with these 16 bytes, or None."""
        found = [r for r in (self.current, self.keyframe) if r is not None and r.id[:16] == base[:16]]
        return found[0] if found else None


def follow(package: Package, shelf: Shelf, limits: Limits) -> Shelf:
    """Return what a client holds after a package. Raises WireError where it cannot follow; ``shelf`` is not changed."""
    at, keyframe = shelf.find(package.base if package.steps else package.target), shelf.keyframe
    if at is None and (package.base != NOTHING or not package.steps):
        raise WireError(f"{MISSING}: this client does not hold {package.base.hex()} (new, or its state was lost)")
    for step in package.steps:
        at = Reference.of(_apply(step, at, limits))
        keyframe = at if step.flags & KEYFRAME else keyframe
    if at is None or at.id != package.target:
        raise WireError("the steps lead to another model than the server's")
    return Shelf(at, keyframe)


def _apply(step: Step, at: Reference | None, limits: Limits) -> Tensors:
    if step.flags & SNAPSHOT:
        return decode_message(loads_any(step.frame, limits))
    if at is not None:
        expect = specs(at.tensors)
        return add(at.tensors, decode_message(loads(step.frame, expect, limits)))
    message = loads_any(step.frame, limits)
    return add(zeros({name: encoded.spec for name, encoded in message.items()}), decode_message(message))
