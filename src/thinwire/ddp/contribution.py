"""What a rank put into an average, in the form in which feedback asks what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State
from thinwire.exchange.selected import is_sparse


@dataclass(frozen=True)
class _Contribution(Codec):
    """Stands for a tensor as an exchange took it; ``sparse``: what is zero was not sent. It never travels."""

    sparse: bool

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        return {"data": x}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        return {"data": spec}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        return parts["data"]

    def subtract_(self, target: Tensor, encoded: Encoded) -> None:
        target -= encoded.known_part("data")

    def nonzeros(self, encoded: Encoded) -> tuple[Tensor, Tensor] | None:
        if not self.sparse:
            return None
        flat = encoded.known_part("data").reshape(-1)
        indices = flat.nonzero().view(-1)
        return indices, flat[indices]


def contribution(codec: Codec, contributed: Tensor) -> Encoded:
    """Return what ``codec`` had this rank contribute, as feedback reads it: whether it was sparse, and where."""
    return Encoded(_Contribution(is_sparse(codec)), Spec.of(contributed), {"data": contributed})
