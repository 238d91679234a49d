"""Sparsifiers: some elements travel, the others are zero. Error feedback makes up for them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, decode
from thinwire.errors import WireError
from thinwire.kernels.gaps import ascending
from thinwire.kernels.narrow import saturate
from thinwire.kernels.permutation import random_subset
from thinwire.registry import child


class _Sparse(Codec):
    """What sparse codecs with explicit indices share: they differ in which elements they keep."""

    values: Codec
    indices: Codec

    sized = True

    @abstractmethod
    def keep(self, magnitudes: Tensor) -> Tensor:
        """Return the indices (int64, any order) of the elements of a 1-D tensor of magnitudes to keep."""

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"values": (k,), "indices": (k,) int64 ascending}``."""
        flat = x.reshape(-1)
        kept = self.keep(flat.abs()).sort().values
        return {"values": flat[kept], "indices": kept.cpu()}, {}

    def size(self, parts: Mapping[str, Tensor]) -> int:
        """Return k."""
        return parts["values"].numel()

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return k values and k indices."""
        return {"values": _kept(spec, size), "indices": Spec((size,), torch.int64)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the dense tensor, zero but for the values."""
        out = torch.zeros(spec.numel, dtype=spec.dtype)
        out[ascending(parts["indices"], spec.numel, self.id)] = parts["values"]
        return out.reshape(spec.shape)

    def subtract_(self, target: Tensor, encoded: Encoded) -> None:
        """Subtract in k operations. ``target`` must be contiguous."""
        parts = {name: decode(part) if isinstance(part, Encoded) else part for name, part in encoded.parts.items()}
        target.view(-1)[parts["indices"]] -= parts["values"].to(target.dtype)


@dataclass(frozen=True)
class TopK(_Sparse, id="topk", tag=20):
    """The ``max(1, int(density * n))`` elements of largest magnitude, exactly; ties go to the lowest index."""

    density: float
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def __post_init__(self) -> None:
        check_density("TopK", self.density)

    def keep(self, magnitudes: Tensor) -> Tensor:
        """Select by a partial sort, then break ties at the k-th magnitude by index."""
        k = kept_count(self.density, magnitudes.numel())
        if k == 0:
            return torch.zeros(0, dtype=torch.int64)
        smallest = torch.topk(magnitudes.float() if magnitudes.itemsize < 4 else magnitudes, k).values[-1]
        above = (magnitudes > smallest).nonzero().view(-1)
        ties = (magnitudes == smallest).nonzero().view(-1)
        return torch.cat([above, ties[: k - above.numel()]])


@dataclass(frozen=True)
class Threshold(_Sparse, id="threshold", tag=22):
    """The elements whose magnitude is at least ``threshold`` (in the tensor's own units); none is legal."""

    threshold: float
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, int | float) or not 0 < self.threshold < float("inf"):
            raise ValueError(f"Threshold: threshold is {self.threshold!r}, expected a positive number")

    def keep(self, magnitudes: Tensor) -> Tensor:
        """Compare."""
        return (magnitudes >= self.threshold).nonzero().view(-1)


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
        kept = flat[random_subset(flat.numel(), k, seed)]
        return {"values": _times(kept, flat.numel() / k) if self.rescale and k else kept}, {}

    def size(self, parts: Mapping[str, Tensor]) -> int:
        """Return k."""
        return parts["values"].numel()

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return k values."""
        return {"values": _kept(spec, size)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the dense tensor, zero but for the values."""
        out = torch.zeros(spec.numel, dtype=spec.dtype)
        out[random_subset(spec.numel, parts["values"].numel(), seed)] = parts["values"]
        return out.reshape(spec.shape)


def kept_count(density: float, numel: int) -> int:
    """Return k: ``max(1, int(density * n))``, 0 for an empty tensor."""
    return min(numel, max(1, int(density * numel)))


def check_density(codec: str, density: object) -> None:
    """Raise ValueError unless 0 < density <= 1."""
    if not isinstance(density, int | float) or isinstance(density, bool) or not 0 < density <= 1:
        raise ValueError(f"{codec}: density is {density!r}, expected more than 0 and at most 1")


def _times(x: Tensor, factor: float) -> Tensor:
    """Multiply in float64; what the dtype cannot hold saturates."""
    return saturate(x.double() * factor, x.dtype)


def _kept(spec: Spec, size: int) -> Spec:
    if not 0 <= size <= spec.numel:
        raise WireError(f"{size} elements kept of a tensor of {spec.numel}")
    return Spec((size,), spec.dtype)
