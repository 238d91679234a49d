"""Choose between families of codecs by what they really cost on this tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from thinwire.codec import Codec, Spec, State, encode_parts
from thinwire.errors import WireError
from thinwire.registry import child


@dataclass(frozen=True)
class Smallest(Codec, id="smallest"):
    """Encode with every option and keep the smallest, tensor by tensor. With ``nmse`` all options get that error bound.

    It is a choice, not a format: what travels is the option.
    """

    nmse: float | None = None
    options: tuple[Codec, ...] = child("(Rdoq(), LowRank(left=Ans(), right=Ans()))")

    def __post_init__(self) -> None:
        if not self.options or not all(isinstance(option, Codec) for option in self.options):
            raise ValueError(f"Smallest: options is {self.options!r}, expected a tuple of at least one codec")
        if self.nmse is not None:
            bounded = tuple(_with_bound(option, self.nmse) for option in self.options)
            object.__setattr__(self, "options", bounded)

    def fit(self, x: Tensor, seed: int) -> Codec:
        """Return the concrete codec of the smallest option; of equals, the first."""
        candidates = dict.fromkeys(option.fit(x, seed) for option in self.options)
        if len(candidates) == 1:
            return next(iter(candidates))
        return min(candidates, key=lambda codec: encode_parts(codec, x, seed, {})[0].payload_bytes)

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Refuse: ``fit`` chooses an option first."""
        raise TypeError("Smallest chooses a codec in fit(); encode with that, or call thinwire.encode")

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Refuse: no frame holds this."""
        raise WireError("smallest: is a choice of the sender, not a format")

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Refuse: no frame holds this."""
        raise WireError("smallest: is a choice of the sender, not a format")


def _with_bound(option: Any, nmse: float) -> Codec:
    if not hasattr(option, "nmse"):
        raise ValueError(f"Smallest: {option} has no error bound; give options such as Rdoq() and LowRank()")
    return replace(option, nmse=nmse)  # type: ignore[no-any-return]
