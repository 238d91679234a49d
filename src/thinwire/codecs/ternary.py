"""TernGrad: every element becomes -1, 0 or 1 times one scale, at random and right on average."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State
from thinwire.errors import WireError
from thinwire.kernels import blocks, trits
from thinwire.kernels.narrow import saturate
from thinwire.registry import child


@dataclass(frozen=True)
class Ternary(Codec, id="ternary", tag=27):
    """``sign(x) * scale`` with probability ``|x| / scale``, else zero; ``scale`` is the largest magnitude of the block.

    TernGrad: Wen et al. 2017, arXiv:1705.07878. Unbiased. ``clip`` (2.5 in the paper) first cuts magnitudes to so many
    times the block's RMS: far less variance, a little bias. ``block``: ``tensor``, ``channel`` (first dimension, if
    there are two) or a number of elements. Five elements make one symbol, at most log2(243) / 5 = 1.6 bits each; most
    are zero, so ``symbols`` codes them in less. Only the sender draws; decoding needs no seed.
    """

    clip: float | None = None
    block: int | Literal["tensor", "channel"] = "tensor"
    symbols: Codec = child("Symbols()")

    wire_fields = ("block",)
    choices = MappingProxyType({"block": ("tensor", "channel")})
    static = unbiased = True

    def __post_init__(self) -> None:
        blocks.check_block("Ternary", self.block)
        if self.clip is not None and (isinstance(self.clip, bool | str) or not 0 < self.clip < math.inf):
            raise ValueError(f"Ternary: clip is {self.clip!r}, expected a positive number")

    @property
    def contractive(self) -> bool:
        """A small element that is kept lands at the scale."""
        return False

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"symbols": int32, five elements in each, "scales": (blocks, 1)}``."""
        spec = Spec.of(x)
        flat = x.to(spec.working).reshape(-1).cpu()
        _, width = blocks.grid(spec.shape, spec.numel, self.block)
        scales = blocks.of_each(flat, width, self._scales)
        digits = np.empty(spec.numel, np.int8)
        random = np.random.default_rng(seed)
        for at, some in blocks.pieces(spec.numel, width):
            piece = flat[at]
            # Levels lie on a grid of 2**-24 (float64: 2**-53) of the scale; the probability is off by no more.
            levels = torch.from_numpy(random.random(piece.numel(), dtype=piece.numpy().dtype))
            _scale_(levels, width, scales[some])
            digits[at] = trits.draw(piece.numpy(), levels.numpy())
        return {"symbols": torch.from_numpy(trits.pack(digits)), "scales": scales}, {}

    def _scales(self, rows: Tensor) -> Tensor:
        largest = blocks.largest(rows)
        return largest if self.clip is None else torch.minimum(largest, blocks.rms(rows).mul_(self.clip))

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return a symbol for five elements and a scale a block."""
        count, _ = blocks.grid(spec.shape, spec.numel, self.block)
        return {"symbols": Spec((trits.groups(spec.numel),), torch.int32), "scales": Spec((count, 1), spec.working)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``digit * scale``, one multiply."""
        scales = parts["scales"]
        blocks.check_scales(scales, "ternary")
        out = self._digits(parts["symbols"], spec)
        _, width = blocks.grid(spec.shape, spec.numel, self.block)
        _scale_(out, width, scales)
        return saturate(out, spec.dtype).reshape(spec.shape)

    def _digits(self, symbols: Tensor, spec: Spec) -> Tensor:
        if symbols.numel() and not -trits.MOST <= int(symbols.min()) <= int(symbols.max()) <= trits.MOST:
            raise WireError(f"ternary: a symbol is beyond {trits.MOST}")
        kind = torch.empty(0, dtype=spec.working).numpy().dtype
        digits = torch.from_numpy(trits.unpack(symbols.numpy(), kind))
        if bool(digits[spec.numel :].any()):
            raise WireError("ternary: the padding digits are not zero")
        return digits[: spec.numel]


def _scale_(flat: Tensor, width: int, scales: Tensor) -> None:
    for row, scale in blocks.paired(flat, min(width, flat.numel()), scales):
        row.mul_(scale)
