"""Quantizers whose levels are not evenly spaced: NF4, and several ranges with a step of their own each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.codec import Codec, Spec, State, codes_from_part, codes_spec, codes_to_part
from thinwire.errors import WireError
from thinwire.kernels import blocks, levels, small
from thinwire.kernels.dispatch import packed_bytes
from thinwire.kernels.distortion import all_finite
from thinwire.kernels.narrow import saturate
from thinwire.registry import child

NORMAL_FLOATS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


@dataclass(frozen=True)
class NF4(Codec, id="nf4", tag=33):
    """The nearest of 16 levels, 4 bits an element, times the largest magnitude of every ``block`` elements.

    4-bit NormalFloat: Dettmers et al. 2023, "QLoRA", arXiv:2305.14314. Levels are quantiles of a normal distribution,
    with an exact zero. A block costs a scale: float32 in blocks of 64 is half a bit an element. ``scales=Cast()`` sends
    float16, ``scales=Uniform(bits=8, block=256)`` is the paper's double quantization. ``block``: a number of elements,
    ``tensor`` or ``channel`` (first dimension, if there are two).
    """

    block: int | Literal["tensor", "channel"] = 64
    scales: Codec = child("Raw()")

    wire_fields = ("block",)
    choices = MappingProxyType({"block": ("tensor", "channel")})
    static = True

    def __post_init__(self) -> None:
        blocks.check_block("NF4", self.block)

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"codes": uint8, two elements in each, "scales": (blocks,)}``."""
        spec = Spec.of(x)
        flat = x.to(spec.working).reshape(-1).cpu()
        _, width = blocks.grid(spec.shape, spec.numel, self.block)
        scales = blocks.of_each(flat, width, blocks.largest)
        codes = [_codes(row / torch.where(scale > 0, scale, 1)) for row, scale in blocks.paired(flat, width, scales)]
        return {"codes": small.pack(torch.cat(codes), 4), "scales": scales[:, 0]}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return half a byte an element and a scale a block."""
        count, _ = blocks.grid(spec.shape, spec.numel, self.block)
        return {
            "codes": Spec((packed_bytes(spec.numel, 4),), torch.uint8),
            "scales": Spec((count,), spec.working),
        }

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``level * scale``, one multiply."""
        codes, scales = parts["codes"], parts["scales"]
        blocks.check_scales(scales, "nf4")
        if not small.padding_is_zero(codes, 4, spec.numel):
            raise WireError("nf4: the padding bits are not zero")
        pairs = _pairs(spec.working == torch.float64)
        out = torch.from_numpy(np.take(pairs, codes.numpy(), axis=0).reshape(-1)[: spec.numel])
        _, width = blocks.grid(spec.shape, spec.numel, self.block)
        for row, scale in blocks.paired(out, width, scales[:, None]):
            row.mul_(scale)
        return saturate(out, spec.dtype).reshape(spec.shape)


def _codes(shares: Tensor) -> Tensor:
    """Return the code of the nearest level of every element, 1-D."""
    ascending = np.array(NORMAL_FLOATS)
    flat = shares.view(-1).numpy()
    return torch.from_numpy(levels.reached(flat, ((ascending[1:] + ascending[:-1]) / 2).astype(flat.dtype)))


@cache
def _pairs(double: bool) -> NDArray[Any]:
    """Return (256, 2) levels: of the low and of the high half of every byte."""
    ascending = np.array(NORMAL_FLOATS, np.float64 if double else np.float32)
    byte = np.arange(256)
    return np.stack([ascending[byte & 15], ascending[byte >> 4]], 1)


@dataclass(frozen=True)
class Ranges(Codec, id="ranges", tag=34):
    """Several minima and steps: ``splits`` ranges of equally many elements, each min-max quantized to ``bits`` bits.

    It costs ``bits + log2(splits)`` bits an element, for the range travels too ("8 bits, 8 splits" is 11 bits), and
    two numbers a range. The centre, where most elements are, gets fine steps, the tails coarse ones: small elements
    have less relative error, but the squared error is larger than that of plain ``Uniform`` at the same cost, except at
    very low bits and heavy tails (docs/methods.md has the table). ``splits`` is a power of two; at most 16 bits in all.

    ``edges``: ``sort`` makes the counts equal, but equal elements stay together; ``histogram`` nearly equal, without
    sorting. A range of one value is exact. ``codes`` may entropy-code the packed bytes, such as ``codes=Zstd()``.
    """

    bits: int = 6
    splits: int = 4
    edges: Literal["sort", "histogram"] = "sort"
    codes: Codec = child("Raw()")

    wire_fields = ("bits", "splits")
    static = True

    def __post_init__(self) -> None:
        if type(self.bits) is not int or self.bits < 1:
            raise ValueError(f"Ranges: bits is {self.bits!r}, expected an integer from 1")
        if type(self.splits) is not int or self.splits.bit_count() != 1 or not 1 <= self.splits <= 256:
            raise ValueError(f"Ranges: splits is {self.splits!r}, expected a power of two from 1 to 256")
        if self.code_bits > 16:
            raise ValueError(
                f"Ranges: {self.bits} bits in {self.splits} splits are {self.code_bits} bits, expected at most 16"
            )
        if self.edges not in ("sort", "histogram"):
            raise ValueError(f"Ranges: edges is {self.edges!r}, expected 'sort' or 'histogram'")

    @property
    def code_bits(self) -> int:
        """Bits that an element takes: its place within the range, and which range that is."""
        return self.bits + self.splits.bit_length() - 1

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"codes": uint8 packed, "ranges": (splits, 2)}``: step and minimum."""
        flat = x.to(Spec.of(x).working).reshape(-1).cpu().numpy()
        if not flat.size:
            nothing = torch.zeros(0, dtype=torch.int32)
            return {"codes": self._part(nothing), "ranges": torch.from_numpy(flat.reshape(0, 2))}, {}
        cut = levels.equal_counts if self.edges == "sort" else levels.histogram_edges
        edges, least, most = cut(flat, self.splits)
        steps = (most - least) / flat.dtype.type(2**self.bits - 1)
        codes = torch.from_numpy(levels.positions(flat, edges, least, steps, self.bits))
        ranges = np.stack([steps, least], 1).astype(flat.dtype)
        return {"codes": self._part(codes), "ranges": torch.from_numpy(ranges)}, {}

    def _part(self, codes: Tensor) -> Tensor:
        return codes_to_part(codes, self.codes, self.code_bits, 1 << self.code_bits - 1)

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the packed codes, and step and minimum of every range."""
        return {
            "codes": codes_spec(self.codes, self.code_bits, spec.numel),
            "ranges": Spec((self.splits if spec.numel else 0, 2), spec.working),
        }

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``place * step + min`` of the range: one multiply and one add."""
        codes, ranges = parts["codes"], parts["ranges"]
        if not all_finite(ranges) or bool((ranges[:, 0] < 0).any()):
            raise WireError("ranges: a step or a minimum is NaN or infinite, or a step is negative")
        if codes.dtype == torch.uint8 and not small.padding_is_zero(codes, self.code_bits, spec.numel):
            raise WireError("ranges: the padding bits are not zero")
        every = codes_from_part(codes, self.code_bits, spec.numel, 1 << self.code_bits - 1).to(torch.int32)
        if spec.numel < 1 << self.code_bits:
            # A table of all codes would take longer than the few that there are.
            own, places = ranges[(every >> self.bits).long()], (every & (1 << self.bits) - 1).to(spec.working)
            return saturate(places.mul_(own[:, 0]).add_(own[:, 1]), spec.dtype).reshape(spec.shape)
        table = torch.arange(2**self.bits, dtype=spec.working) * ranges[:, :1]
        table = saturate(table.add_(ranges[:, 1:]).reshape(-1), spec.dtype)
        return table.index_select(0, every).reshape(spec.shape)
