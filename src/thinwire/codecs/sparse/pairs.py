"""What sparsifiers share: the pair of values and indices that travels. They differ in which elements they select."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State
from thinwire.errors import WireError
from thinwire.kernels import fresh
from thinwire.kernels.gaps import ascending
from thinwire.registry import child


class Sparsifier(Codec):
    """Selects elements and sends them as values and indices. Subclasses implement ``select``.

    Selection is the sender's business alone: whatever the rule, a ``Sparse`` travels.
    """

    values: Codec
    indices: Codec

    sized = True

    @abstractmethod
    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Return the indices (int64, ascending) of the elements of a finite 1-D tensor to send, and what to remember.

        ``flat`` has x's dtype and is contiguous; ``history`` is what was remembered of the same tensor a step ago
        (empty at first), and may be wrong: it may make the selection faster, never invalid.
        """

    def select_each(
        self, flat: Tensor, lengths: Sequence[int], seeds: Sequence[int], histories: Sequence[State]
    ) -> list[tuple[Tensor, State]]:
        """Return what ``select`` does of each of consecutive segments of ``flat``, by indices of its own."""
        parts = zip(torch.split(flat, list(lengths)), seeds, histories, strict=True)
        return [self.select(part, seed, history) for part, seed, history in parts]

    def accumulate(self, residual: Tensor, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Add ``flat`` to ``residual`` in place (it is the caller's to change) and select from the sum.

        Both are 1-D, contiguous and finite. Error feedback's two steps in one, for rules that can do them in one sweep.
        """
        return self.select(residual.add_(flat), seed, history)

    def decoder(self) -> Codec:
        """Return the ``Sparse`` that decodes what this rule encoded."""
        return Sparse(values=self.values, indices=self.indices)

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"values": (k,), "indices": (k,) int64 ascending}``."""
        flat = x.reshape(-1)
        selected, history = self.select(flat, seed, history)
        return {"values": flat[selected], "indices": selected.cpu()}, history

    def size(self, parts: Mapping[str, Tensor]) -> int:
        """Return k."""
        return parts["values"].numel()

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return k values and k indices."""
        return {"values": kept(spec, size), "indices": Spec((size,), torch.int64)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the dense tensor, zero but for the values."""
        out = fresh.zeros((spec.numel,), spec.dtype)
        out[ascending(parts["indices"], spec.numel, self.id)] = parts["values"]
        return out.reshape(spec.shape)

    def nonzeros(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Return what was selected."""
        return encoded.known_part("indices"), encoded.known_part("values")


@dataclass(frozen=True)
class Sparse(Sparsifier, id="sparse", tag=23):
    """The elements that are not zero: what every sparsifier sends, and by itself a codec for mostly zeros."""

    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Compare with zero."""
        return flat.nonzero().view(-1), {}


@dataclass(frozen=True, eq=False)
class Chosen(Sparsifier):
    """Elements that were selected before, sent as a ``Sparse``. It never travels."""

    places: Tensor
    elements: Tensor
    values: Codec
    indices: Codec

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return what was selected, whatever x."""
        return {"values": self.elements, "indices": self.places}, {}

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Return where that is."""
        return self.places, {}


def kept_count(density: float, numel: int) -> int:
    """Return k: ``max(1, int(density * n))``, 0 for an empty tensor."""
    return min(numel, max(1, int(density * numel)))


def check_density(codec: str, density: object) -> None:
    """Raise ValueError unless 0 < density <= 1."""
    if not isinstance(density, int | float) or isinstance(density, bool) or not 0 < density <= 1:
        raise ValueError(f"{codec}: density is {density!r}, expected more than 0 and at most 1")


def kept(spec: Spec, size: int) -> Spec:
    """Return the spec of the values of ``size`` elements. Raises WireError where the tensor has fewer."""
    if not 0 <= size <= spec.numel:
        raise WireError(f"{size} elements kept of a tensor of {spec.numel}")
    return Spec((size,), spec.dtype)
