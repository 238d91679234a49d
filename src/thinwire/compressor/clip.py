"""Clipping: of what is sent, or of what comes in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Spec
from thinwire.errors import NonFiniteError
from thinwire.kernels.distortion import all_finite, energy, largest
from thinwire.registry import register


@register
@dataclass(frozen=True)
class Clip:
    """Clip every element to ``value``, or the L2 norm of the whole message to ``norm / sqrt(workers)``.

    What is sent is clipped, just before encoding; with ``incoming`` what comes in, before feedback adds what it kept.
    What is clipped off goes to the residual (``keep``) or is dropped. The local gradient clipping of Deep Gradient
    Compression (Lin et al. 2018, arXiv:1712.01887) is ``Clip(norm=..., keep=False, workers=N, incoming=True)``: the
    norm of N independent gradients' sum is sqrt(N) times that of one.
    """

    value: float | None = None
    norm: float | None = None
    keep: bool = True
    workers: int = 1
    incoming: bool = False

    def __post_init__(self) -> None:
        given = [bound for bound in (self.value, self.norm) if bound is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise ValueError(f"Clip: value is {self.value!r} and norm {self.norm!r}, expected one positive number")
        if not isinstance(self.workers, int) or self.workers < 1:
            raise ValueError(f"Clip: workers is {self.workers!r}, expected an integer from 1")
        if self.workers > 1 and self.norm is None:
            raise ValueError(f"Clip: workers={self.workers} scales a norm; give norm, not value")

    def apply(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the float tensors clipped, in their working dtypes; those within bounds, and integers, as they are.

        Raises NonFiniteError naming the tensor that holds NaN or infinity, which clipping would hide.
        """
        floats = {name: x for name, x in tensors.items() if x.dtype.is_floating_point}
        for name, x in floats.items():
            if not all_finite(x):
                raise NonFiniteError(f"{name}: the tensor holds NaN or infinity, which clipping would hide")
        return {**tensors, **(self._by_norm(floats) if self.value is None else self._by_value(floats, self.value))}

    def _by_value(self, floats: Mapping[str, Tensor], most: float) -> dict[str, Tensor]:
        over = {name: x for name, x in floats.items() if largest(x) > most}
        return {name: x.to(Spec.of(x).working).clamp(-most, most) for name, x in over.items()}

    def _by_norm(self, floats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        norm = math.sqrt(sum(energy(x) for x in floats.values()))
        scale = (self.norm or 0.0) / math.sqrt(self.workers) / norm if norm else 1.0
        return {name: x.to(Spec.of(x).working) * scale for name, x in floats.items()} if scale < 1 else {}
