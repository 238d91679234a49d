"""`BitRound`: a few bits of every element's own mantissa, so that vectors of mixed scale keep all of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import VARIABLE, Codec, Spec, State
from thinwire.errors import WireError
from thinwire.kernels import dispatch, mantissas, small
from thinwire.registry import child


@dataclass(frozen=True)
class BitRound(Codec, id="bitround", tag=29):
    """Round every element to ``bits`` bits of its own mantissa: its error is at most ``2**-(bits + 1)`` of itself.

    Whatever the others are: zeros stay zeros, signs and denormals stay, and of ``[1e-6, 191000]`` both arrive. So for
    biases, scales, masks and statistics, of which a bound on the whole vector's error would destroy all but the
    largest. Bit rounding as in Zender (2016, Geosci. Model Dev. 9, 3199) and Kloewer et al. (2021, Nat. Comput. Sci.
    1, 713). What travels is the distance to the largest exponent, entropy-coded by the smaller of the options of
    ``symbols``, and the bits as they are: 3 to 4 bits an element that is not zero, and ``bits``.
    """

    bits: int = 7
    symbols: Codec = child("Smallest(options=(Symbols(), Huffman()))")

    wire_fields = ("bits",)
    knob = "bits"

    def __post_init__(self) -> None:
        if not (isinstance(self.bits, int) and not isinstance(self.bits, bool) and 0 <= self.bits <= 16):
            raise ValueError(f"BitRound: bits is {self.bits!r}, expected 0 to 16")

    def fit(self, x: Tensor, seed: int) -> Codec:
        """Return the codec with a concrete coder of the exponents."""
        distances, _, _ = self._rounded(x)
        chosen = self.symbols.fit(distances, seed)
        return self if chosen is self.symbols else replace(self, symbols=chosen)

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return signed distances int32 (n), the exponent int16 (1) that they start at, and the packed mantissas."""
        distances, largest, significands = self._rounded(x)
        return {
            "symbols": distances,
            "largest": torch.tensor([largest], dtype=torch.int16),
            "mantissas": mantissas.packed(significands, self.bits),
        }, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return a symbol an element, one exponent, and a variable part: mantissas of what is not zero."""
        return {
            "symbols": Spec((spec.numel,), torch.int32),
            "largest": Spec((1,), torch.int16),
            "mantissas": Spec((VARIABLE,), torch.uint8),
        }

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the rounded elements: a shift, in the tensor's dtype exact but for what the sender's was not."""
        symbols, largest = parts["symbols"].numpy(), int(parts["largest"])
        self._check_exponents(symbols, largest, spec.dtype)
        at = np.flatnonzero(symbols)
        some = symbols[at]
        significands = self._significands(parts["mantissas"], len(at))
        found = mantissas.values(largest + 1 - np.abs(some), significands * np.sign(some), self.bits, spec.dtype)
        out = torch.zeros(spec.numel, dtype=spec.dtype)
        out[torch.from_numpy(at)] = found
        return out.reshape(spec.shape)

    def _rounded(self, x: Tensor) -> tuple[Tensor, int, np.ndarray]:
        """Return signed distances int32 (n), where they start, and the significands of what is not zero."""
        flat = x.to(Spec.of(x).working).reshape(-1).cpu().numpy()
        exponents, significands = mantissas.rounded(flat, self.bits)
        some = significands != 0
        largest = int(exponents[some].max()) if some.any() else 0
        distances = np.where(some, np.copysign(largest + 1 - exponents, flat), 0).astype(np.int32)
        return torch.from_numpy(distances), largest, significands[some]

    def _check_exponents(self, symbols: np.ndarray, largest: int, dtype: torch.dtype) -> None:
        bottom, top = mantissas.bottom(dtype), mantissas.top(dtype)
        furthest = max(-int(symbols.min()), int(symbols.max())) if symbols.size else 0
        if furthest and not bottom <= largest + 1 - furthest <= largest <= top:
            raise WireError(
                f"bitround: exponents from {largest + 1 - furthest} to {largest}, {dtype} has {bottom} to {top}"
            )

    def _significands(self, packed: Tensor, count: int) -> np.ndarray:
        expected = dispatch.packed_bytes(count, self.bits)
        if packed.numel() not in (0, expected):
            raise WireError(f"bitround: {packed.numel()} bytes of mantissas, {count} elements take {expected} or none")
        if packed.numel() and not small.padding_is_zero(packed, self.bits, count):
            raise WireError("bitround: the padding bits are not zero")
        return mantissas.unpacked(packed, self.bits, count)
