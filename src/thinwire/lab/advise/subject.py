"""What is to be sent: tensors, what each of them stands for, and what is known about where they are from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


class BadSubject(ValueError):
    """What was named cannot be read, or there is no such thing."""


@dataclass(frozen=True)
class Subject:
    """Tensors that stand for all that is sent.

    ``weights`` says how many times its own size each tensor stands for: 1, or more where only a sample was taken.
    ``whole`` tensors are a model, which no later round corrects; others are an update. ``synthetic`` values were drawn.
    ``compute_s`` is the measured time of the training that made the update, None where nothing was trained. Raises
    BadSubject where there is no element.
    """

    name: str
    about: str
    tensors: Mapping[str, Tensor]
    weights: Mapping[str, float]
    whole: bool = False
    synthetic: bool = False
    compute_s: float | None = None

    def __post_init__(self) -> None:
        if not any(x.numel() for x in self.tensors.values()):
            raise BadSubject(f"{self.name} holds no elements: there is nothing to send, compressed or not")

    @property
    def may_lose(self) -> bool:
        """Whether any tensor may lose bits: integers, and what is carried as such, travel with all of them."""
        return any(x.dtype.is_floating_point and x.numel() for x in self.tensors.values())

    @property
    def sample_bytes(self) -> int:
        """Dense bytes of the tensors at hand."""
        return sum(x.nbytes for x in self.tensors.values())

    @property
    def dense_bytes(self) -> float:
        """Dense bytes of all that they stand for."""
        return sum(x.nbytes * self.weights[name] for name, x in self.tensors.items())

    @property
    def elements(self) -> int:
        """Elements of all that they stand for."""
        return round(sum(x.numel() * self.weights[name] for name, x in self.tensors.items()))

    @property
    def sampled(self) -> bool:
        """Whether they are a sample."""
        return any(weight > 1 for weight in self.weights.values())

    @property
    def share(self) -> float:
        """Share of all bytes that are at hand."""
        return self.sample_bytes / self.dense_bytes if self.dense_bytes else 1.0
