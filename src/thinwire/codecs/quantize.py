"""The fixed-rate quantizer `Uniform`: sizes known ahead, parts of one length. For the fewest bytes see `Step`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, codes_from_part, codes_spec, codes_to_part, generator
from thinwire.errors import WireError
from thinwire.kernels import blocks, fresh, uniform
from thinwire.kernels.distortion import nmse
from thinwire.kernels.narrow import saturate
from thinwire.registry import child, parse


@dataclass(frozen=True)
class Uniform(Codec, id="uniform", tag=4):
    """Uniform quantization to 1 to 16 bits an element, really bit-packed, one scale per tensor, channel or block.

    Affine (default): ``code = round((x - min) / (max - min) * (2**bits - 1))``. Symmetric: ``round(x / scale)`` with
    ``scale = max|x| / (2**(bits-1) - 1)``, so zero stays zero. ``step`` fixes the scale of the symmetric form instead.
    ``rounding``: ``nearest``; ``floor`` (half a step of bias: kept for its users, whose codes these are, one by one:
    the formulas in float64 with ``floor``, or ``trunc`` where symmetric; with ``step``, ``trunc(x * (1 / step))`` in
    the tensor's dtype, at least float32); ``stochastic`` (unbiased, Alistarh et al. 2017, arXiv:1610.02132).
    ``block``: ``tensor``, ``channel`` (first dimension) or a number of elements. With ``nmse`` instead of ``bits``, the
    fewest bits whose error stays within it. ``codes`` may entropy-code the packed bytes, such as ``codes=Zstd()``, or
    the codes themselves, such as ``codes=Huffman()``.
    """

    bits: int | None = None
    nmse: float | None = None
    rounding: Literal["nearest", "floor", "stochastic"] = "nearest"
    symmetric: bool = False
    block: int | Literal["tensor", "channel"] = "tensor"
    step: float | None = None
    codes: Codec = child("Raw()")

    wire_fields = ("bits", "symmetric", "block")
    choices = MappingProxyType({"block": ("tensor", "channel")})
    static = True
    knob = "bits"

    def __post_init__(self) -> None:
        if self.bits is None and self.nmse is None:
            object.__setattr__(self, "bits", 8)
        least = 2 if self.symmetric or self.step is not None else 1
        if self.bits is not None and not (isinstance(self.bits, int) and least <= self.bits <= 16):
            raise ValueError(f"Uniform: bits is {self.bits!r}, expected {least} to 16")
        if self.bits is not None and self.nmse is not None:
            raise ValueError("Uniform: give either bits or nmse, not both")
        if self.nmse is not None and not 0 <= self.nmse < 1:
            raise ValueError(f"Uniform: nmse is {self.nmse!r}, expected 0 <= nmse < 1")
        if self.rounding not in ("nearest", "floor", "stochastic"):
            raise ValueError(f"Uniform: rounding is {self.rounding!r}, expected 'nearest', 'floor' or 'stochastic'")
        if self.block not in ("tensor", "channel") and not (isinstance(self.block, int) and self.block >= 2):
            raise ValueError(f"Uniform: block is {self.block!r}, expected 'tensor', 'channel' or an integer from 2")
        if self.step is not None:
            if not 0 < self.step < math.inf:
                raise ValueError(f"Uniform: step is {self.step!r}, expected a positive number")
            object.__setattr__(self, "symmetric", True)

    def fit(self, x: Tensor, seed: int) -> Codec:
        """Return the codec with the fewest bits within ``nmse``, checked on the decoded tensor; lossless if none is."""
        if self.nmse is None:
            return self
        for bits in range(2 if self.symmetric else 1, 17):
            candidate = replace(self, bits=bits, nmse=None)
            parts, _ = candidate.to_parts(x, seed, {})
            if nmse(x, candidate.from_parts(parts, Spec.of(x), seed)) <= self.nmse:
                return candidate
        return parse("Planes()")  # type: ignore[no-any-return]

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"codes": packed or integers, "scales": (groups, 1 or 2)}``: step and, if affine, minimum."""
        assert self.bits is not None
        spec = Spec.of(x)
        flat, (groups, width) = x.to(spec.working).reshape(-1), self._grid(spec)
        scales = self._scales(flat, groups, width)
        codes = self._codes(flat, scales, width, seed)
        return {"codes": codes_to_part(codes, self.codes, self.bits, self._middle), "scales": scales}, {}

    def _codes(self, flat: Tensor, scales: Tensor, width: int, seed: int) -> Tensor:
        """Return the 1-D codes from 0, uint8 where they fit."""
        low, step, (least, most) = None if self.symmetric else scales[:, 1:], scales[:, :1], self._levels
        if self.rounding == "nearest":
            return uniform.nearest(flat, low, step, width, least, most)
        if self.rounding == "floor":
            return self._floored(flat, width).sub_(least)
        rows = uniform.padded(flat, width)
        position = torch.where(step > 0, (rows if low is None else rows - low) / step, rows.new_zeros(()))
        noise = torch.rand(position.shape, generator=generator(seed), dtype=position.dtype)
        codes = (position + noise.to(position.device)).floor().clamp_(least, most).sub_(least)
        return codes.to(torch.int32).view(-1)[: len(flat)]

    def _floored(self, flat: Tensor, width: int) -> Tensor:
        """Return the multiples of the step as the formulas in use have them, code by code."""
        least, most = self._levels
        if self.step is not None:
            # In the tensor's own dtype, as published: x * 254, then the fraction is cut off.
            return (flat * (1 / self.step)).trunc_().clamp_(least, most).to(torch.int32)
        codes = torch.empty(len(flat), dtype=torch.int32, device=flat.device)
        ends = blocks.of_each(flat, width, lambda rows: torch.cat(blocks.extremes(rows), 1))
        for at, some in blocks.pieces(len(flat), width):
            piece, own = flat[at], ends[some].double()
            for (rows, low_high), into in zip(
                blocks.paired(piece, min(width, len(piece)), own),
                blocks.rows(codes[at], min(width, len(piece))),
                strict=True,
            ):
                into.copy_(_cut(rows.double(), low_high[:, :1], low_high[:, 1:], most, self.symmetric))
        return codes

    @property
    def _levels(self) -> tuple[int, int]:
        """Return the lowest and the highest multiple of the step."""
        assert self.bits is not None
        return (1 - 2 ** (self.bits - 1), 2 ** (self.bits - 1) - 1) if self.symmetric else (0, 2**self.bits - 1)

    @property
    def _middle(self) -> int:
        """Return the code that is 0 for a codec of integers: that of zero itself in the symmetric form."""
        assert self.bits is not None
        return (1 << self.bits - 1) - self.symmetric

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the codes and the scales."""
        assert self.bits is not None
        groups, _ = self._grid(spec)
        return {
            "codes": codes_spec(self.codes, self.bits, spec.numel),
            "scales": Spec((groups, 1 if self.symmetric else 2), spec.working),
        }

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``code * step + min``: one multiply and one add, the same on every machine."""
        assert self.bits is not None
        scales = parts["scales"]
        blocks.check_scales(scales, "uniform")
        codes, (least, most) = codes_from_part(parts["codes"], self.bits, spec.numel, self._middle), self._levels
        if self.symmetric and codes.numel() and int(codes.max()) > most - least:
            raise WireError(f"uniform: a code is beyond the {2**self.bits - 1} levels of the symmetric form")
        out = fresh.empty((spec.numel,), spec.working)
        uniform.values(codes, None if self.symmetric else scales[:, 1:], scales[:, :1], least, self._grid(spec)[1], out)
        return saturate(out, spec.dtype).reshape(spec.shape)

    def _grid(self, spec: Spec) -> tuple[int, int]:
        """Return how many groups share a scale, and how many elements each has."""
        if self.block == "tensor" or not spec.shape or spec.numel == 0:
            return (1, spec.numel) if spec.numel else (0, 1)
        if self.block == "channel":
            return spec.shape[0], spec.numel // spec.shape[0]
        width = min(int(self.block), spec.numel)
        return -(-spec.numel // width), width

    def _scales(self, flat: Tensor, groups: int, width: int) -> Tensor:
        if self.step is not None:
            return flat.new_full((groups, 1), self.step)
        return blocks.of_each(flat, width, self._scales_of)

    def _scales_of(self, rows: Tensor) -> Tensor:
        assert self.bits is not None
        if self.symmetric:
            return blocks.largest(rows).div_(2 ** (self.bits - 1) - 1)
        low, high = blocks.extremes(rows)
        return torch.cat([(high - low) / (2**self.bits - 1), low], 1)


def _cut(rows: Tensor, low: Tensor, high: Tensor, most: int, symmetric: bool) -> Tensor:
    """Return ``floor((x - low) / (high - low) * most)``, or ``trunc(x / max|x| * most)``; zeros where all is one."""
    start, span = (torch.zeros_like(low), torch.maximum(high, -low)) if symmetric else (low, high - low)
    position = ((rows - start) / span).mul_(most)
    return torch.where(span > 0, position.trunc_(), 0.0)
