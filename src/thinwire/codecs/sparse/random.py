"""Random selection by a shared seed: no index travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State
from thinwire.codecs.sparse.pairs import check_density, kept, kept_count
from thinwire.kernels import fresh
from thinwire.kernels.narrow import saturate
from thinwire.kernels.permutation import random_subset
from thinwire.registry import child


@dataclass(frozen=True)
class RandomK(Codec, id="randomk", tag=21):
    """``max(1, int(density * n))`` elements chosen by the seed. Both ends know the seed, so no index travels.

    With ``rescale`` the values are multiplied by n/k and the decoded tensor is unbiased (Konecny et al. 2016,
    arXiv:1610.05492); without, it is contractive, which error feedback needs.
    """

    density: float
    rescale: bool = True
    values: Codec = child("Raw()")

    seeded = sized = linear = static = unbiased = True

    def __post_init__(self) -> None:
        check_density("RandomK", self.density)

    @property
    def contractive(self) -> bool:
        """Rescaled values overshoot by n/k."""
        return not self.rescale

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"values": (k,)}``."""
        flat = x.reshape(-1)
        k = kept_count(self.density, flat.numel())
        chosen = flat[random_subset(flat.numel(), k, seed)]
        return {"values": _times(chosen, flat.numel() / k) if self.rescale and k else chosen}, {}

    def size(self, parts: Mapping[str, Tensor]) -> int:
        """Return k."""
        return parts["values"].numel()

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return k values."""
        return {"values": kept(spec, size)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the dense tensor, zero but for the values."""
        out = fresh.zeros((spec.numel,), spec.dtype)
        out[random_subset(spec.numel, parts["values"].numel(), seed)] = parts["values"]
        return out.reshape(spec.shape)

    def nonzeros(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Return what the seed chose."""
        return random_subset(encoded.spec.numel, encoded.size, encoded.seed), encoded.known_part("values")


def _times(x: Tensor, factor: float) -> Tensor:
    """Multiply in float64; what the dtype cannot hold saturates."""
    return saturate(x.double() * factor, x.dtype)
