"""What an exchange asks of whoever drives it, and what it returns. It does no I/O itself (sans I/O, as h11 is)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from thinwire.codec import Encoded, Spec, State
from thinwire.exchange.product import Product
from thinwire.exchange.scattered import Scattered
from thinwire.exchange.selected import NOTHING, Selected
from thinwire.kernels.narrow import saturate


@dataclass(frozen=True)
class Place:
    """Which of how many ranks this one is: ``rank`` counts from 0, ``world`` from 1."""

    rank: int
    world: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ValueError(f"Place: rank is {self.rank} of {self.world}, expected 0 to world - 1")


@dataclass(frozen=True, eq=False)
class Sum:
    """Add float tensors over all ranks. Reply: the sums, in the same order, shapes and dtypes."""

    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Gather:
    """Give ``encoded`` to all ranks. Reply: what every rank gave, in rank order; rank r's is of ``specs[r]``."""

    encoded: Encoded
    specs: tuple[Spec, ...]


@dataclass(frozen=True, eq=False)
class AllToAll:
    """Give ``encoded[r]`` to rank r. Reply: what every rank had for this one, in rank order, all of ``spec``."""

    encoded: tuple[Encoded, ...]
    spec: Spec


Request = Sum | Gather | AllToAll


@dataclass(frozen=True, eq=False)
class Average:
    """What an exchange returns, in the working dtype of the tensor (float64 for float64, else float32).

    ``mean`` has the same bits on all ranks. The mean over ranks of ``contributed`` is ``mean`` up to rounding, so that
    ``target - contributed`` is what error feedback has to keep. ``history`` goes into the next call for this tensor.
    Where all sent sparse tensors, or factors, neither of the two is dense unless asked for.
    """

    whole: Tensor | Scattered | Product
    """What the mean is."""
    sent: Tensor | Encoded
    """What was contributed, dense or as it was encoded."""
    history: State
    selected: Selected = NOTHING

    @property
    def mean(self) -> Tensor:
        """Return the mean over ranks."""
        return self.whole if isinstance(self.whole, Tensor) else self.whole.dense()

    @property
    def contributed(self) -> Tensor:
        """Return what this rank put into it."""
        return self.sent.decoded().to(self.sent.spec.working) if isinstance(self.sent, Encoded) else self.sent

    def write(self, out: Tensor, factor: float = 1.0) -> None:
        """Put ``factor`` times the mean into a tensor of its shape, any float dtype, strides and device; saturating."""
        if not isinstance(self.whole, Tensor) and self.whole.fits(out):
            self.whole.write(out, factor)
        else:
            out.copy_(saturate(self.mean if factor == 1.0 else self.mean * factor, out.dtype))


Exchange = Generator[Request, list[Any], Average]
"""The average of one tensor over ranks: yields requests, is sent their replies, returns an ``Average``."""
