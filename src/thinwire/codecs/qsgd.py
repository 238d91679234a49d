"""QSGD as published: magnitudes in parts of the norm, rounded at random, entropy-coded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, generator
from thinwire.kernels import blocks
from thinwire.kernels.narrow import saturate
from thinwire.registry import child

_MOST_LEVELS = 1 << 20


@dataclass(frozen=True)
class Qsgd(Codec, id="qsgd", tag=35):
    """``norm / levels`` times an integer: each element is rounded up or down at random, so that the mean is right.

    QSGD: Alistarh et al. 2017, arXiv:1610.02132, with the L2 norm of every ``block`` elements; its variance is at most
    ``min(n / levels**2, sqrt(n) / levels)`` times the squared norm, n being the block's elements. Most integers are
    zero, and ``symbols`` codes them as such (the paper: Elias codes). For the largest magnitude instead of the norm and
    a fixed rate: ``Uniform(bits=4, symmetric=True, rounding='stochastic', block=128)``. ``block``: a number of
    elements, ``tensor`` or ``channel``. Only the sender draws; decoding needs no seed.
    """

    levels: int = 7
    block: int | Literal["tensor", "channel"] = 512
    symbols: Codec = child("Symbols()")

    wire_fields = ("block",)
    choices = MappingProxyType({"block": ("tensor", "channel")})
    static = unbiased = True

    def __post_init__(self) -> None:
        blocks.check_block("Qsgd", self.block)
        if type(self.levels) is not int or not 1 <= self.levels <= _MOST_LEVELS:
            raise ValueError(f"Qsgd: levels is {self.levels!r}, expected an integer from 1 to {_MOST_LEVELS}")

    @property
    def contractive(self) -> bool:
        """A small element that is rounded up lands far away."""
        return False

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"symbols": int32 (n), "scales": (blocks, 1)}``."""
        spec = Spec.of(x)
        flat = x.to(spec.working).reshape(-1).cpu()
        _, width = blocks.grid(spec.shape, spec.numel, self.block)
        scales = blocks.of_each(flat, width, self._scales)
        places = torch.rand(flat.shape, generator=generator(seed), dtype=flat.dtype)
        pairs = blocks.paired(flat, width, scales)
        for (row, scale), (into, _) in zip(pairs, blocks.paired(places, width, scales), strict=True):
            into.add_(row / torch.where(scale > 0, scale, math.inf)).floor_()
        return {"symbols": places.to(torch.int32), "scales": scales}, {}

    def _scales(self, rows: Tensor) -> Tensor:
        norms = blocks.rms(rows).mul_(math.sqrt(rows.shape[1]) / self.levels)
        return norms.clamp_(max=torch.finfo(rows.dtype).max)

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return a symbol an element and a scale a block."""
        count, _ = blocks.grid(spec.shape, spec.numel, self.block)
        return {"symbols": Spec((spec.numel,), torch.int32), "scales": Spec((count, 1), spec.working)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``symbol * scale``, one multiply."""
        scales = parts["scales"]
        blocks.check_scales(scales, "qsgd")
        out = parts["symbols"].to(spec.working)
        _, width = blocks.grid(spec.shape, spec.numel, self.block)
        for row, scale in blocks.paired(out, width, scales):
            row.mul_(scale)
        return saturate(out, spec.dtype).reshape(spec.shape)
