"""The entropy-coded quantizer `Step`: the fewest bytes for a bound on the error, made and read in pieces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, Stream, is_stream, pieces_of
from thinwire.errors import WireError
from thinwire.kernels import dispatch, fresh
from thinwire.kernels.distortion import largest_step, rms
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
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
                raise ValueError(f"Step: {name} is {value!r}, expected a positive number")
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
        spec = Spec(tuple(x.shape), torch.int32)
        parts = self.symbols.write(self._quantized(x, step, self.symbols.piece, worst), spec.shape)
        symbols = Encoded(self.symbols, spec, parts)
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

    def residual_(self, target: Tensor, encoded: Encoded) -> None:
        """Turn ``target`` into what was not sent of it by quantizing it once more, which is the same symbols."""
        flat, step = target.view(-1), encoded.known_part("step")
        places = encoded.known_part("patched").to(target.device)
        exact = flat[places] - encoded.known_part("exact").to(target)
        for piece in torch.split(flat, _PIECE):
            self._residual_(piece, step, encoded.spec.dtype)
        flat[places] = exact

    def _residual_(self, piece: Tensor, step: Tensor, dtype: torch.dtype) -> None:
        if dtype == step.dtype:
            dispatch.residual_(piece, float(step), self._threshold)
        else:
            symbols = dispatch.quantize(saturate(piece, dtype).to(step.dtype), 1.0 / float(step), self._threshold)
            piece -= _dequantize(symbols.cpu(), step, torch.empty(len(piece), dtype=dtype)).to(piece)

    @property
    def _threshold(self) -> float:
        return 0.5 if self.absolute else self.dead_zone

    def _step(self, spec: Spec) -> Tensor:
        limits = torch.finfo(spec.working)
        wanted = 2 * self.absolute if self.absolute else self.step
        return torch.tensor([wanted], dtype=torch.float64).clamp(limits.tiny, limits.max / 4).to(spec.working)

    def _quantized(self, x: Tensor, step: Tensor, size: int, worst: list[Tensor]) -> Iterator[Tensor]:
        """Yield the flat int32 symbols in pieces, and append to ``worst`` where each piece is to be stored exactly."""
        for at, piece in _pieces(x, size):
            symbols = dispatch.quantize(piece.to(step.dtype), 1.0 / float(step), self._threshold).cpu()
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
