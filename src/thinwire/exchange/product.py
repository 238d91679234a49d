"""A mean of low rank, never dense: its thin factors are multiplied where the product is wanted, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State
from thinwire.kernels import fresh


@dataclass(frozen=True, eq=False)
class Product:
    """``left.T @ right`` as a tensor of ``spec``, which has a working dtype; left (rank, m), right (rank, n)."""

    spec: Spec
    left: Tensor
    right: Tensor

    def dense(self) -> Tensor:
        """Return the product."""
        out = fresh.empty(self.spec.shape, self.spec.dtype, self.left.device)
        self.write(out)
        return out

    def fits(self, out: Tensor) -> bool:
        """Return whether ``write`` takes a tensor."""
        return out.dtype == self.spec.dtype and out.device == self.left.device and out.is_contiguous()

    def write(self, out: Tensor, factor: float = 1.0) -> None:
        """Put ``factor`` times the product into a contiguous tensor of the working dtype."""
        self._matrix(out).addmm_(self.left.T, self.right, beta=0.0, alpha=factor)

    def subtract_from(self, out: Tensor) -> None:
        """Subtract the product from a contiguous tensor of the working dtype, in place."""
        self._matrix(out).addmm_(self.left.T, self.right, alpha=-1.0)

    def encoded(self) -> Encoded:
        """Return it as feedback reads what was sent."""
        return Encoded(_Factors(), self.spec, {"left": self.left, "right": self.right})

    def _matrix(self, out: Tensor) -> Tensor:
        return out.view(self.left.shape[1], self.right.shape[1])


@dataclass(frozen=True)
class _Factors(Codec):
    """Stands for a ``Product``. It never travels."""

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        raise NotImplementedError("a product is not encoded")

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        return {}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        return Product(spec, parts["left"], parts["right"]).dense()

    def subtract_(self, target: Tensor, encoded: Encoded) -> None:
        left, right = encoded.known_part("left"), encoded.known_part("right")
        Product(encoded.spec, left, right).subtract_from(target)
