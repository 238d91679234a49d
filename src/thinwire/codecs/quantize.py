"""Quantizers: fixed-rate `Uniform` (sizes known ahead, parts of one length) and entropy-coded `Step` (fewest bytes)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, Stream, generator, is_stream, pieces_of
from thinwire.errors import WireError
from thinwire.kernels import dispatch, fresh
from thinwire.kernels.distortion import largest_step, nmse, rms
from thinwire.kernels.gaps import ascending
from thinwire.kernels.narrow import saturate
from thinwire.registry import child, parse

_PIECE = 1 << 16
_LARGEST = 2**30
"""The quantizer cuts symbols there."""
_NOWHERE = torch.empty(0, dtype=torch.int64)
_BELOW = 1 - 2.0**-40
"""A relative bound stays within its own rounding errors by so much."""


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
    knob = "step"
    streams = ("symbols",)

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
            return replace(self, relative=None, absolute=self.relative * rms(x) * _BELOW or 1.0)
        if self.nmse is not None:
            found = largest_step(x, self.nmse, self.dead_zone)
            return replace(self, nmse=None, step=found) if found else parse("Planes()")
        return self

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return int32 symbols of x's shape, the step, and where and what is stored exactly."""
        step = self._step(Spec.of(x))
        symbols, worst = fresh.empty(tuple(x.shape), torch.int32), list[Tensor]()
        flat = symbols.view(-1)
        for into, piece in zip(torch.split(flat, _PIECE), self._quantized(x, step, _PIECE, worst), strict=False):
            into.copy_(piece)
        return {"symbols": symbols, "step": step, **_exact(x, worst)}, {}

    def to_streams(self, x: Tensor) -> dict[str, Tensor | Encoded] | None:
        """Return the parts without the symbols ever being held, where their codec takes pieces."""
        if not isinstance(self.symbols, Stream):
            return None
        step, worst = self._step(Spec.of(x)), list[Tensor]()
        parts = self.symbols.write(self._quantized(x, step, self.symbols.piece, worst), x.numel())
        symbols = Encoded(self.symbols, Spec(tuple(x.shape), torch.int32), parts)
        return {"symbols": symbols, "step": step, **_exact(x, worst)}

    def size(self, parts: Mapping[str, Tensor]) -> int:
        """Return the number of elements stored exactly."""
        return parts["patched"].numel()

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the symbols, the step and the exact elements."""
        if not 0 <= size <= spec.numel:
            raise WireError(f"step: {size} exact elements in a tensor of {spec.numel}")
        return {
            "symbols": Spec(spec.shape, torch.int32),
            "step": Spec((1,), spec.working),
            "patched": Spec((size,), torch.int64),
            "exact": Spec((size,), spec.dtype),
        }

    def from_parts(self, parts: Mapping[str, Tensor | Encoded], spec: Spec, seed: int) -> Tensor:
        """Return ``symbol * step``, one multiply, with the exact elements put in."""
        plain = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        step = float(plain["step"])
        if not math.isfinite(step) or step < 0:
            raise WireError(f"step: the step is {step}")
        out = fresh.empty((spec.numel,), spec.dtype)
        for at, piece in _pieces(parts["symbols"]):
            _dequantize(piece, plain["step"], out[at : at + len(piece)])
        if plain["patched"].numel():
            out[ascending(plain["patched"], spec.numel, self.id)] = plain["exact"]
        return out.reshape(spec.shape)

    def subtract_(self, target: Tensor, encoded: Encoded) -> None:
        """Subtract what was encoded from the contiguous ``target`` in place, piece by piece."""
        flat, parts = target.view(-1), {name: encoded.known_part(name) for name in ("step", "patched", "exact")}
        symbols = encoded.parts["symbols"]
        for at, piece in _pieces(symbols if is_stream(symbols) else encoded.known_part("symbols")):
            decoded = _dequantize(piece, parts["step"], torch.empty(len(piece), dtype=encoded.spec.dtype))
            flat[at : at + len(piece)] -= decoded.to(target)
        # Their symbols are zero: what was subtracted there is nothing.
        flat[parts["patched"].to(target.device)] -= parts["exact"].to(target)

    def _step(self, spec: Spec) -> Tensor:
        limits = torch.finfo(spec.working)
        wanted = 2 * self.absolute if self.absolute else self.step
        return torch.tensor([wanted], dtype=torch.float64).clamp(limits.tiny, limits.max / 4).to(spec.working)

    def _quantized(self, x: Tensor, step: Tensor, size: int, worst: list[Tensor]) -> Iterator[Tensor]:
        """Yield the flat int32 symbols in pieces, and append to ``worst`` where each piece is to be stored exactly."""
        threshold = 0.5 if self.absolute else self.dead_zone
        for at, piece in _pieces(x, size):
            symbols = dispatch.quantize(piece.to(step.dtype), 1.0 / float(step), threshold).cpu()
            found = self._violators(piece.cpu(), symbols, step)
            symbols[found] = 0
            worst.append(found + at)
            yield symbols

    def _violators(self, flat: Tensor, symbols: Tensor, step: Tensor) -> Tensor:
        """Return the indices whose decoded value is outside the absolute bound, or saturated the symbol."""
        low, high = symbols.aminmax()
        if int(high) < _LARGEST and int(low) > -_LARGEST and self._within(flat, symbols, step):
            return _NOWHERE
        outside = symbols.abs() >= _LARGEST
        if self.absolute is not None:
            error = _dequantize(symbols, step, torch.empty_like(flat)).double().sub_(flat)
            outside |= ~(error.abs_() <= self.absolute)
        return outside.nonzero().view(-1)

    def _within(self, flat: Tensor, symbols: Tensor, step: Tensor) -> bool:
        """Return whether all are known to be within the absolute bound, if there is one."""
        if self.absolute is None:
            return True
        return flat.dtype == step.dtype and dispatch.all_within(flat, symbols, float(step), self.absolute)


def _pieces(part: Tensor | Encoded, size: int = _PIECE) -> Iterator[tuple[int, Tensor]]:
    """Yield the flat pieces of a tensor, or of what a Stream encoded, each with its place."""
    flat = pieces_of(part) if isinstance(part, Encoded) else iter(torch.split(part.reshape(-1), size))
    at = 0
    for piece in flat:
        if len(piece):
            yield at, piece
        at += len(piece)


def _exact(x: Tensor, worst: list[Tensor]) -> dict[str, Tensor]:
    """Return where and what is stored exactly."""
    places = torch.cat([_NOWHERE, *worst])
    return {"patched": places, "exact": x.reshape(-1)[places.to(x.device)].cpu()}


def _dequantize(symbols: Tensor, step: Tensor, out: Tensor) -> Tensor:
    """Write ``symbol * step`` to ``out``, rounded to its dtype; return it."""
    if out.dtype == step.dtype:
        return out.copy_(symbols).mul_(step)
    return out.copy_(saturate(symbols.to(step.dtype).mul_(step), out.dtype))


def _check_positive(codec: str, name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"{codec}: {name} is {value!r}, expected a positive number")
