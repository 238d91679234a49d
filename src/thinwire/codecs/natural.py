"""Natural compression: every element becomes a power of two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State
from thinwire.errors import WireError
from thinwire.kernels import powers
from thinwire.registry import child


@dataclass(frozen=True)
class Natural(Codec, id="natural", tag=28):
    """One of the two powers of two around every element, with its sign; zero stays zero.

    Natural compression: Horvath et al. 2019, arXiv:1905.10988. ``rounding``: ``stochastic`` takes the upper one with
    the probability that makes it unbiased, with a second moment of at most 9/8 of the square; ``nearest`` errs by at
    most a third of the element. Either way no element lands further away than zero is. Denormals have their powers too;
    a float16 that would become 65536 saturates at 65504. What travels is the distance to the exponent of the largest
    magnitude, entropy-coded: 3 to 5 bits an element. Only the sender draws; decoding needs no seed.
    """

    rounding: Literal["stochastic", "nearest"] = "stochastic"
    symbols: Codec = child("Symbols()")

    static = unbiased = True

    def __post_init__(self) -> None:
        if self.rounding not in ("stochastic", "nearest"):
            raise ValueError(f"Natural: rounding is {self.rounding!r}, expected 'stochastic' or 'nearest'")

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"symbols": int32 (n), "largest": int16 (1)}``: signed distances, and the exponent they start at."""
        flat = x.to(Spec.of(x).working).reshape(-1).cpu().numpy()
        # As fine as the mantissa, so the probability of each power is exactly right.
        random = np.random.default_rng(seed) if self.rounding == "stochastic" else None
        symbols, largest = powers.symbols(flat, random)
        return {"symbols": torch.from_numpy(symbols), "largest": torch.tensor([largest], dtype=torch.int16)}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return a symbol an element and one exponent."""
        return {"symbols": Spec((spec.numel,), torch.int32), "largest": Spec((1,), torch.int16)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return signed powers of two, or zero."""
        largest, symbols = int(parts["largest"]), parts["symbols"]
        bottom, top = powers.bottom(spec.dtype), powers.top(spec.dtype)
        if not bottom <= largest <= top:
            raise WireError(f"natural: the largest exponent is {largest}, {spec.dtype} has {bottom} to {top}")
        furthest = max(-int(symbols.min()), int(symbols.max())) if spec.numel else 0
        if furthest > largest + 1 - bottom:
            raise WireError(f"natural: a power of two is too small for {spec.dtype}")
        return powers.decoded(symbols, powers.values(largest, furthest, spec.dtype)).reshape(spec.shape)
