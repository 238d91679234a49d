"""Rotation: elements become nearly normal, whatever they were, so a fixed number of bits does for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State
from thinwire.errors import WireError
from thinwire.kernels import blocks, small
from thinwire.kernels.dispatch import packed_bytes
from thinwire.kernels.hadamard import mixed, tensor
from thinwire.kernels.hadamard.normal import MOST_BITS
from thinwire.kernels.hadamard.plan import LEAST, PARTS, Plan
from thinwire.kernels.narrow import saturate

_LARGEST_BLOCK = 1 << 13


@dataclass(frozen=True)
class Eden(Codec, id="eden", tag=32):
    """Random rotation, then the best levels for a normal distribution, at any rate from 1/256 to 8 bits an element.

    EDEN: Vargaftik et al. 2022, arXiv:2108.08842; with one bit, DRIVE: Vargaftik et al. 2021, arXiv:2105.08339. A
    rotation is random signs and a Hadamard transform of every ``block`` elements (a power of two, 64 to 8192), all
    drawn from the seed; the last elements go in smaller blocks, with at most 63 of padding. Every block has its scale.

    ``bits`` need not be whole: 2.5 becomes ``bits=2, fine=128``, for of every 256 elements 128 get one bit more, which
    ones the seed says; with ``bits=0`` only these are sent.

    ``scale``: with ``unbiased`` the mean over seeds is the tensor, whatever it holds and however short it is. It
    rotates twice, for after one turn a block with one large element is far from normal: at one bit, half of what is
    beside that element would be lost on average. And before levels are chosen it adds a dither, for in short blocks two
    turns are not enough: an NMSE of up to 1 / block more. Above 4 bits blocks of 1024 and more have none: what is below
    a thousandth of the largest element may come back a few per cent off there. ``mse`` rotates once and has the least
    error; it is contractive, so this is for error feedback. Its NMSE of a normal tensor at 1 to 4 bits is 0.363, 0.117,
    0.0345 and 0.0095; that of ``unbiased`` is D / (1 - D) of these, and the dither's. Decoding adds integers and
    multiplies once: the same bits on every machine.
    """

    bits: float = 4
    scale: Literal["unbiased", "mse"] = "unbiased"
    block: int = 4096
    fine: int = 0

    wire_fields = ("bits", "fine", "scale", "block")
    choices = MappingProxyType({"scale": ("unbiased", "mse")})
    seeded = static = unbiased = True

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool | str) or not 0 <= self.bits <= MOST_BITS:
            raise ValueError(f"Eden: bits is {self.bits!r}, expected 1/{PARTS} to {MOST_BITS}")
        if type(self.fine) is not int or not 0 <= self.fine < PARTS:
            raise ValueError(f"Eden: fine is {self.fine!r}, expected an integer from 0 to {PARTS - 1}")
        if self.fine and self.bits != int(self.bits):
            raise ValueError(f"Eden: bits is {self.bits!r}; give either a fraction or fine, not both")
        parts = round(self.bits * PARTS) + self.fine
        if not 1 <= parts <= MOST_BITS * PARTS:
            raise ValueError(f"Eden: {self.bits!r} bits and fine {self.fine}, expected 1/{PARTS} to {MOST_BITS}")
        object.__setattr__(self, "bits", parts // PARTS)
        object.__setattr__(self, "fine", parts % PARTS)
        if self.scale not in ("unbiased", "mse"):
            raise ValueError(f"Eden: scale is {self.scale!r}, expected 'unbiased' or 'mse'")
        if type(self.block) is not int or self.block.bit_count() != 1 or not LEAST <= self.block <= _LARGEST_BLOCK:
            raise ValueError(f"Eden: block is {self.block!r}, expected a power of two from {LEAST} to {_LARGEST_BLOCK}")

    @property
    def contractive(self) -> bool:
        """An unbiased scale is longer than the best one."""
        return self.scale == "mse"

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"codes", "fine": uint8 packed, "scales": (blocks,)}``."""
        spec = Spec.of(x)
        plan, bits = self._plan(spec), int(self.bits)
        codes, scales = tensor.encode(x.to(spec.working).reshape(-1), plan, seed, self.scale == "unbiased")
        coarse, fine = mixed.parted(codes, plan, seed)
        return {
            "codes": small.pack(coarse, bits),
            "fine": small.pack(fine, bits + 1),
            "scales": scales.clamp(max=torch.finfo(spec.working).max).to(spec.working),
        }, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the codes of both kinds and a scale a block."""
        plan, bits = self._plan(spec), int(self.bits)
        return {
            "codes": Spec((packed_bytes(plan.padded - plan.fines, bits),), torch.uint8),
            "fine": Spec((packed_bytes(plan.fines, bits + 1),), torch.uint8),
            "scales": Spec((plan.blocks,), spec.working),
        }

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the levels, turned back as integers, times the scales: one multiply. It saturates."""
        scales, plan, bits = parts["scales"], self._plan(spec), int(self.bits)
        blocks.check_scales(scales, "eden")
        for name, own, count in (("codes", bits, plan.padded - plan.fines), ("fine", bits + 1, plan.fines)):
            if not small.padding_is_zero(parts[name], own, count):
                raise WireError(f"eden: the padding bits of {name} are not zero")
        coarse = small.unpack(parts["codes"], bits, plan.padded - plan.fines)
        fine = small.unpack(parts["fine"], bits + 1, plan.fines)
        codes = mixed.joined(coarse, fine, plan, seed)
        return saturate(tensor.decode(codes, scales, plan, seed), spec.dtype).reshape(spec.shape)

    def _plan(self, spec: Spec) -> Plan:
        return Plan(spec.numel, self.block, int(self.bits), self.fine, 2 if self.scale == "unbiased" else 1)
