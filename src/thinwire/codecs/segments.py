"""`Segments`: several tensors' values as one, each with evenly spaced levels of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, codes_from_part, codes_spec, codes_to_part
from thinwire.errors import WireError
from thinwire.kernels import blocks, fresh, ragged
from thinwire.kernels.gaps import ascending
from thinwire.kernels.narrow import saturate
from thinwire.registry import child


@dataclass(frozen=True)
class Segments(Codec, id="segments", tag=36):
    """Consecutive segments of the flat tensor, of each what ``Uniform(bits, symmetric)`` makes of it alone, to the bit.

    ``lengths``: elements of each segment, none of them 0; by default all are one. They travel as where segments end.
    Where gradients of data-parallel training go together, it takes the place of ``Uniform``.
    """

    bits: int = 8
    symmetric: bool = False
    lengths: tuple[int, ...] = ()
    codes: Codec = child("Raw()")
    ends: Codec = child("Indices(coder='rice')")

    wire_fields = ("bits", "symmetric")
    sized = True

    def __post_init__(self) -> None:
        least = 2 if self.symmetric else 1
        if not (isinstance(self.bits, int) and least <= self.bits <= 16):
            raise ValueError(f"Segments: bits is {self.bits!r}, expected {least} to 16")
        if not all(isinstance(length, int) and length > 0 for length in self.lengths):
            raise ValueError(f"Segments: lengths is {self.lengths!r}, expected numbers of elements from 1")

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"codes": packed or integers, "scales": (segments, 1 or 2), "ends": (segments,) int64}``.

        Raises ValueError where the segments are not the whole tensor.
        """
        lengths = self.lengths or ((x.numel(),) if x.numel() else ())
        if sum(lengths) != x.numel():
            raise ValueError(f"Segments: lengths add up to {sum(lengths)}, the tensor has {x.numel()} elements")
        flat, ends = x.to(Spec.of(x).working).reshape(-1).cpu(), torch.tensor(lengths, dtype=torch.int64).cumsum(0)
        scales = self._scales(*ragged.extremes(flat, ends))
        codes = ragged.nearest(flat, ends, self._lows(scales), scales[:, :1], *self._levels)
        part = codes_to_part(codes, self.codes, self.bits, self._middle)
        return {"codes": part, "scales": scales, "ends": ends}, {}

    def size(self, parts: Mapping[str, Tensor]) -> int:
        """Return the number of segments."""
        return len(parts["ends"])

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the codes, and scales and an end a segment."""
        if not 0 <= size <= spec.numel:
            raise WireError(f"segments: {size} of them in {spec.numel} elements")
        return {
            "codes": codes_spec(self.codes, self.bits, spec.numel),
            "scales": Spec((size, 1 if self.symmetric else 2), spec.working),
            "ends": Spec((size,), torch.int64),
        }

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``code * step + min`` by the segment's own scales: one multiply and one add."""
        scales, (least, most) = parts["scales"], self._levels
        ends = ascending(parts["ends"], spec.numel + 1, self.id)
        if spec.numel and not (len(ends) and ends[0] > 0 and ends[-1] == spec.numel):
            raise WireError(f"segments: they do not end from 1 on and, the last, at {spec.numel}")
        blocks.check_scales(scales, "segments")
        codes = codes_from_part(parts["codes"], self.bits, spec.numel, self._middle)
        if self.symmetric and codes.numel() and int(codes.max()) > most - least:
            raise WireError(f"segments: a code is beyond the {2**self.bits - 1} levels of the symmetric form")
        out = fresh.empty((spec.numel,), spec.working)
        ragged.values(codes, ends, self._lows(scales), scales[:, :1], least, out)
        return saturate(out, spec.dtype).reshape(spec.shape)

    @property
    def _levels(self) -> tuple[int, int]:
        """Return the lowest and the highest multiple of the step."""
        most = 2 ** (self.bits - 1) - 1
        return (-most, most) if self.symmetric else (0, 2**self.bits - 1)

    @property
    def _middle(self) -> int:
        """Return the code that is 0 for a codec of integers, as in ``Uniform``."""
        return (1 << self.bits - 1) - self.symmetric

    def _lows(self, scales: Tensor) -> Tensor | None:
        return None if self.symmetric else scales[:, 1:]

    def _scales(self, low: Tensor, high: Tensor) -> Tensor:
        if self.symmetric:
            return torch.maximum(low.abs(), high.abs()) / self._levels[1]
        return torch.cat([(high - low) / self._levels[1], low], 1)
