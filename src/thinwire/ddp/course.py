"""A plan that all ranks follow for some steps, and the text in which rank 0 tells it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from thinwire.codec import Codec, State
from thinwire.errors import WireError
from thinwire.registry import parse


@dataclass(frozen=True)
class Course:
    """The codec of every parameter, from step ``step`` on, for ``holds`` steps. Step ``replan`` needs a plan anew."""

    codecs: Mapping[str, Codec]
    step: int
    holds: int
    replan: int
    kept: State = field(default_factory=dict)
    """What the policy remembers, on the rank that planned."""

    @property
    def until(self) -> int:
        """The step for which there has to be another: a plan, or this one made coarser or finer."""
        return min(self.step + self.holds, self.replan)

    @property
    def text(self) -> str:
        """All but ``kept``, as JSON."""
        codecs = {name: str(codec) for name, codec in self.codecs.items()}
        return json.dumps({**{name: getattr(self, name) for name in _NUMBERS}, "codecs": codecs})

    @classmethod
    def of(cls, text: str) -> Course:
        """Invert ``text``. Raises WireError on what cannot be read."""
        try:
            told = json.loads(text)
            codecs = {name: _codec(codec) for name, codec in told["codecs"].items()}
            step, holds, replan = (_positive(told[name]) for name in _NUMBERS)
            return cls(codecs, step, holds, replan)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise WireError(f"a plan cannot be read: {error}") from None

    def checked(self, names: Collection[str]) -> Course:
        """Return it. Raises WireError where it is not for exactly these parameters."""
        if odd := sorted({*self.codecs} ^ {*names}):
            raise WireError(f"a plan is for other parameters: {odd[0]!r} is not in both")
        return self


_NUMBERS = ("step", "holds", "replan")


def _codec(text: Any) -> Codec:
    codec = parse(text) if isinstance(text, str) else None
    if not isinstance(codec, Codec):
        raise ValueError(f"{text!r} is no codec")
    return codec


def _positive(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is no number of steps")
    return value
