"""Quantizers: fixed-rate `Uniform` (sizes known ahead, parts of one length) and entropy-coded `Step` (fewest bytes)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, generator
from thinwire.errors import WireError
from thinwire.kernels import dispatch
from thinwire.kernels.distortion import largest_step, nmse, rms
from thinwire.kernels.gaps import ascending
from thinwire.kernels.narrow import saturate
from thinwire.registry import child, parse


@dataclass(frozen=True)
class Uniform(Codec, id="uniform", tag=4):
    """Uniform quantization to 1 to 16 bits an element, really bit-packed, one scale per tensor, channel or block.

    Affine (default): ``code = round((x - min) / (max - min) * (2**bits - 1))``. Symmetric: ``round(x / scale)`` with
    ``scale = max|x| / (2**(bits-1) - 1)``, so zero stays zero. ``step`` fixes the scale of the symmetric form instead.
    ``rounding``: ``nearest``; ``floor`` (half a step of bias: kept for its users); ``stochastic`` (unbiased, Alistarh
    et al. 2017, arXiv:1610.02132). ``block``: ``tensor``, ``channel`` (first dimension) or a number of elements.
    With ``nmse`` instead of ``bits``, the fewest bits whose error stays within it. ``codes`` may entropy-code the
    packed bytes, such as ``codes=Zstd()``.
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
            _check_positive("Uniform", "step", self.step)
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
        """Return ``{"codes": uint8 packed, "scales": (groups, 1 or 2)}``: the step and, if affine, the minimum."""
        assert self.bits is not None
        rows = self._rows(x)
        scales = self._scales(rows)
        low = scales[:, 1:] if not self.symmetric else torch.zeros_like(scales)
        levels = 2**self.bits - 1 if not self.symmetric else 2 ** (self.bits - 1) - 1
        step = scales[:, :1]
        position = torch.where(step > 0, (rows - low) / step, torch.zeros((), dtype=rows.dtype))
        codes = self._round(position, seed).clamp_(-levels if self.symmetric else 0, levels)
        codes = codes.to(torch.int32) + (levels if self.symmetric else 0)
        return {"codes": dispatch.pack(codes.reshape(-1)[: x.numel()], self.bits), "scales": scales}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the packed codes and the scales."""
        assert self.bits is not None
        groups, _ = self._grid(spec)
        return {
            "codes": Spec((dispatch.packed_bytes(spec.numel, self.bits),), torch.uint8),
            "scales": Spec((groups, 1 if self.symmetric else 2), spec.working),
        }

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``code * step + min``: one multiply and one add, the same on every machine."""
        assert self.bits is not None
        scales = parts["scales"]
        if not bool(torch.isfinite(scales).all()) or bool((scales[:, 0] < 0).any()):
            raise WireError("uniform: a scale is negative, NaN or infinite")
        groups, width = self._grid(spec)
        codes = dispatch.unpack(parts["codes"], self.bits, spec.numel)
        if self.symmetric:
            codes -= 2 ** (self.bits - 1) - 1
            if bool((codes == 2 ** (self.bits - 1)).any()):
                raise WireError(f"uniform: a code is beyond the {2**self.bits - 1} levels of the symmetric form")
        out = torch.zeros(groups * width, dtype=spec.working)
        out[: spec.numel] = codes.to(spec.working)
        rows = out.view(groups, width).mul_(scales[:, :1])
        if not self.symmetric:
            rows.add_(scales[:, 1:])
        return saturate(out[: spec.numel], spec.dtype).reshape(spec.shape)

    def _grid(self, spec: Spec) -> tuple[int, int]:
        """Return how many groups share a scale, and how many elements each has."""
        if self.block == "tensor" or not spec.shape or spec.numel == 0:
            return (1, spec.numel) if spec.numel else (0, 0)
        if self.block == "channel":
            return spec.shape[0], spec.numel // spec.shape[0]
        width = min(int(self.block), spec.numel)
        return -(-spec.numel // width), width

    def _rows(self, x: Tensor) -> Tensor:
        spec = Spec.of(x)
        groups, width = self._grid(spec)
        flat = x.to(spec.working).reshape(-1)
        missing = groups * width - spec.numel
        # A short last block is filled with its own last value, which moves neither its minimum nor its maximum.
        return (torch.cat([flat, flat[-1:].expand(missing)]) if missing else flat).view(groups, width)

    def _scales(self, rows: Tensor) -> Tensor:
        assert self.bits is not None
        if not rows.numel():
            return rows.new_zeros(rows.shape[0], 1 if self.symmetric else 2)
        if self.step is not None:
            return rows.new_full((rows.shape[0], 1), self.step)
        if self.symmetric:
            return rows.abs().amax(1, keepdim=True).div(2 ** (self.bits - 1) - 1)
        low, high = rows.aminmax(dim=1, keepdim=True)
        return torch.cat([(high - low) / (2**self.bits - 1), low], 1)

    def _round(self, position: Tensor, seed: int) -> Tensor:
        if self.rounding == "nearest":
            return position.round()
        if self.rounding == "floor":
            return position.trunc() if self.symmetric else position.floor()
        noise = torch.rand(position.shape, generator=generator(seed), dtype=position.dtype)
        return (position + noise.to(position.device)).floor()


@dataclass(frozen=True)
class Step(Codec, id="step", tag=5):
    """Uniform quantizer with a dead zone, entropy-coded: the fewest bytes for a bound on the error. The default codec.

    Exactly one of: ``absolute`` (largest error of any element), ``relative`` (the same in units of the tensor's RMS),
    ``nmse`` (``sum((x-y)**2) / sum(x**2)``), ``step`` (a step with no promise). Bounds are verified on the decoded
    tensor in float64; elements that break an absolute bound are stored exactly. ``dead_zone`` is the magnitude, in
    steps, below which an element becomes zero (0.5 is plain rounding; absolute and relative bounds always use that).
    Sullivan 1996, "Efficient scalar quantization of exponential and Laplacian random variables".
    """

    absolute: float | None = None
    relative: float | None = None
    nmse: float | None = None
    step: float | None = None
    dead_zone: float = 0.66
    symbols: Codec = child("Symbols()")
    patched: Codec = child("Indices()")

    sized = True

    def __post_init__(self) -> None:
        bounds = {name: getattr(self, name) for name in ("absolute", "relative", "nmse", "step")}
        given = {name: value for name, value in bounds.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f"Step: give one of absolute, relative, nmse and step, not {', '.join(given)}")
        if not given:
            object.__setattr__(self, "nmse", 0.01)
        for name, value in given.items():
            _check_positive("Step", name, value)
        if self.nmse is not None and self.nmse >= 1:
            raise ValueError(f"Step: nmse is {self.nmse!r}, expected less than 1 (1 is sending nothing)")
        if not 0.5 <= self.dead_zone <= 1:
            raise ValueError(f"Step: dead_zone is {self.dead_zone!r}, expected 0.5 to 1")

    def fit(self, x: Tensor, seed: int) -> Codec:
        """Return the codec with a concrete step: the largest that stays within the bound."""
        if self.relative is not None:
            return replace(self, relative=None, absolute=self.relative * rms(x) or 1.0)
        if self.nmse is not None:
            found = largest_step(x, self.nmse, self.dead_zone)
            return replace(self, nmse=None, step=found) if found else parse("Planes()")
        return self

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return int32 symbols, the step, and where and what is stored exactly."""
        spec = Spec.of(x)
        limits = torch.finfo(spec.working)
        wanted = 2 * self.absolute if self.absolute else self.step
        step = torch.tensor([wanted], dtype=torch.float64).clamp(limits.tiny, limits.max / 4).to(spec.working)
        threshold = 0.5 if self.absolute else self.dead_zone
        flat = x.to(spec.working).reshape(-1)
        symbols = dispatch.quantize(flat, 1.0 / float(step), threshold).cpu()
        worst = self._violators(x.reshape(-1).cpu(), symbols, step)
        symbols[worst] = 0
        exact = x.reshape(-1).cpu()[worst]
        return {"symbols": symbols, "step": step, "patched": worst, "exact": exact}, {}

    def size(self, parts: Mapping[str, Tensor]) -> int:
        """Return the number of elements stored exactly."""
        return parts["patched"].numel()

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the symbols, the step and the exact elements."""
        if not 0 <= size <= spec.numel:
            raise WireError(f"step: {size} exact elements in a tensor of {spec.numel}")
        return {
            "symbols": Spec((spec.numel,), torch.int32),
            "step": Spec((1,), spec.working),
            "patched": Spec((size,), torch.int64),
            "exact": Spec((size,), spec.dtype),
        }

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return ``symbol * step``, one multiply, with the exact elements put in."""
        step = float(parts["step"])
        if not math.isfinite(step) or step < 0:
            raise WireError(f"step: the step is {step}")
        out = _dequantize(parts["symbols"], parts["step"], spec.dtype)
        if parts["patched"].numel():
            out[ascending(parts["patched"], spec.numel, self.id)] = parts["exact"]
        return out.reshape(spec.shape)

    def _violators(self, flat: Tensor, symbols: Tensor, step: Tensor) -> Tensor:
        """Return the indices whose decoded value is outside the absolute bound, or saturated the symbol."""
        saturated = symbols.abs() >= 2**30
        if self.absolute is None:
            return saturated.nonzero().view(-1)
        error = (_dequantize(symbols, step, flat.dtype).double() - flat.double()).abs()
        return (saturated | ~(error <= self.absolute)).nonzero().view(-1)


def _dequantize(symbols: Tensor, step: Tensor, dtype: torch.dtype) -> Tensor:
    return saturate(symbols.to(step.dtype).mul_(step), dtype)


def _check_positive(codec: str, name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"{codec}: {name} is {value!r}, expected a positive number")
