"""One bit an element: the sign with one magnitude a block, and the two means of 1-bit SGD."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, codes_from_part, codes_spec
from thinwire.errors import WireError
from thinwire.kernels import blocks, signs, small
from thinwire.kernels.narrow import saturate
from thinwire.registry import child

_BLOCKS = MappingProxyType({"block": ("tensor", "channel")})


@dataclass(frozen=True)
class Sign(Codec, id="sign", tag=25):
    """The sign of every element, one bit, times one magnitude per tensor, channel or block. ``x >= 0`` is +.

    ``scale``: ``mean`` is the mean magnitude, of all the one that leaves the least squared error (signSGD with norm:
    Bernstein et al. 2018, arXiv:1802.04434; with error feedback: Karimireddy et al. 2019, arXiv:1901.09847). ``l2``
    keeps the L2 norm instead. A positive number, in the tensor's own units, is plain signSGD: the sign of the mean of
    the workers' signs is their majority vote (Bernstein et al. 2019, arXiv:1810.05291); a tie counts as +. Only
    ``mean`` is contractive. A block of zeros has scale 0 and stays zero.
    ``block``: ``tensor``, ``channel`` (first dimension, if there are two) or a number of elements.
    """

    scale: float | Literal["mean", "l2"] = "mean"
    block: int | Literal["tensor", "channel"] = "tensor"
    codes: Codec = child("Raw()")

    wire_fields = ("block",)
    choices = _BLOCKS
    static = True

    def __post_init__(self) -> None:
        blocks.check_block("Sign", self.block)
        if self.scale in ("mean", "l2"):
            return
        if isinstance(self.scale, bool | str) or not 0 < self.scale < math.inf:
            raise ValueError(f"Sign: scale is {self.scale!r}, expected 'mean', 'l2' or a positive number")
        if self.block != "tensor":
            raise ValueError(f"Sign: block is {self.block!r}, but a scale of {self.scale!r} is the same for all blocks")

    @property
    def contractive(self) -> bool:
        """A magnitude above twice the mean lands further away than zero."""
        return self.scale == "mean"

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"codes": uint8 packed, "scales": (blocks, 1)}``."""
        spec = Spec.of(x)
        flat = x.to(spec.working).reshape(-1)
        _, width = blocks.grid(spec.shape, spec.numel, self.block)
        return {"codes": _codes(flat, self.codes), "scales": blocks.of_each(flat, width, self._scales).cpu()}, {}

    def _scales(self, rows: Tensor) -> Tensor:
        if self.scale == "mean":
            return blocks.mean(rows, torch.abs)
        if self.scale == "l2":
            return blocks.rms(rows)
        limits = torch.finfo(rows.dtype)
        return (blocks.largest(rows) > 0).to(rows.dtype) * min(max(float(self.scale), limits.tiny), limits.max / 4)

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return a bit an element and a scale a block."""
        return _layout(spec, self, "scales", 1)

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``scale`` or ``-scale``."""
        scales = parts["scales"]
        blocks.check_scales(scales, "sign")
        return _chosen(self, parts["codes"], -scales, scales, spec, self.block)


@dataclass(frozen=True)
class OneBit(Codec, id="onebit", tag=26):
    """One bit an element, and per block the mean of its non-negative and the mean of its negative elements.

    Of all pairs of values, those with the least squared error for this bit, so it is contractive. 1-bit SGD: Seide et
    al. 2014, "1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed Training of Speech
    DNNs", where a block is a column and the error is fed back. ``block``: ``tensor``, ``channel`` (first dimension, if
    there are two) or a number of elements.
    """

    block: int | Literal["tensor", "channel"] = "channel"
    codes: Codec = child("Raw()")

    wire_fields = ("block",)
    choices = _BLOCKS
    static = True

    def __post_init__(self) -> None:
        blocks.check_block("OneBit", self.block)

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"codes": uint8 packed, "means": (blocks, 2)}``: of the non-negative elements, of the negative."""
        spec = Spec.of(x)
        flat = x.to(spec.working).reshape(-1)
        _, width = blocks.grid(spec.shape, spec.numel, self.block)
        return {"codes": _codes(flat, self.codes), "means": blocks.of_each(flat, width, _means).cpu()}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return a bit an element and two means a block."""
        return _layout(spec, self, "means", 2)

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return one mean or the other."""
        high, low = parts["means"][:, :1], parts["means"][:, 1:]
        if not bool(torch.isfinite(parts["means"]).all()) or bool((high < 0).any()) or bool((low > 0).any()):
            raise WireError("onebit: a mean is NaN, infinite or on the wrong side of zero")
        return _chosen(self, parts["codes"], low, high, spec, self.block)


def _means(rows: Tensor) -> Tensor:
    width = rows.shape[1]
    above = blocks.total(rows, lambda x: x >= 0).to(rows.dtype)
    high = blocks.mean(rows, lambda x: x.clamp(min=0)) * (width / above.clamp(min=1))
    low = blocks.mean(rows, lambda x: x.clamp(max=0)) * (width / (width - above).clamp(min=1))
    return torch.cat([high, low], 1)


def _codes(flat: Tensor, codec: Codec) -> Tensor:
    """Return a bit an element, or 0 or 1 for a codec of integers."""
    return (flat >= 0).to("cpu", torch.int32) if codec.integers else signs.pack(flat)


def _layout(spec: Spec, codec: Sign | OneBit, magnitudes: str, columns: int) -> dict[str, Spec]:
    count, _ = blocks.grid(spec.shape, spec.numel, codec.block)
    return {"codes": codes_spec(codec.codes, 1, spec.numel), magnitudes: Spec((count, columns), spec.working)}


def _chosen(codec: Codec, codes: Tensor, low: Tensor, high: Tensor, spec: Spec, block: blocks.Block) -> Tensor:
    if codes.dtype == torch.int32:
        codes = small.pack(codes_from_part(codes, 1, spec.numel, 0), 1)
    if not signs.padding_is_zero(codes, spec.numel):
        raise WireError(f"{codec.id}: the padding bits are not zero")
    _, width = blocks.grid(spec.shape, spec.numel, block)
    narrow = [saturate(value, spec.dtype).contiguous() for value in (low, high)]
    return signs.choose(codes, spec.numel, width, *narrow).reshape(spec.shape)
