"""The rate-distortion optimized quantizer: the fewest bytes for an error, at more time than `Step` takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, pieces_of
from thinwire.errors import WireError
from thinwire.kernels import fresh, rdo
from thinwire.kernels.distortion import largest, largest_step, nmse
from thinwire.kernels.narrow import saturate
from thinwire.kernels.rdo.points import UNITS
from thinwire.kernels.search import largest_within
from thinwire.registry import child, parse

_COARSER = 1.1
"""Choosing cheap symbols costs error: its step is about so much smaller than that of plain rounding."""
_SAMPLE = 1 << 20
_FINEST = 2.0**-24
_ZERO = 4.0
_PIECE = 1 << 18
_SLACK = 0.01


@dataclass(frozen=True)
class Rdoq(Codec, id="rdoq", tag=6):
    """Uniform quantizer whose every symbol minimizes ``D + lambda R``: the fewest bytes for an error. For updates.

    R is what the symbol costs where it stands: rows and columns have magnitude classes and signs (`Ans`). Symbols
    decode to the mean of what they stand for. Exactly one of ``nmse`` (``sum((x-y)**2) / sum(x**2)``, verified on the
    decoded tensor; 0.01 if none is given) and ``step`` (no promise). ``trade`` is lambda, in squared steps a bit. One
    step for all tensors of a message is about the best for their joint error. Sullivan and Wiegand 1998.
    """

    nmse: float | None = None
    step: float | None = None
    trade: float = 0.13
    symbols: Codec = child("Ans()")

    knob = "step"
    streams = ("symbols",)

    def __post_init__(self) -> None:
        if self.nmse is not None and self.step is not None:
            raise ValueError("Rdoq: give either nmse or step, not both")
        if self.nmse is None and self.step is None:
            object.__setattr__(self, "nmse", 0.01)
        if self.nmse is not None and not 0 < self.nmse < 1:
            raise ValueError(
                f"Rdoq: nmse is {self.nmse!r}, expected more than 0 and less than 1 (1 is sending nothing)"
            )
        if self.step is not None and not 0 < self.step < math.inf:
            raise ValueError(f"Rdoq: step is {self.step!r}, expected a positive number")
        if not 0 <= self.trade <= 1:
            raise ValueError(f"Rdoq: trade is {self.trade!r}, expected 0 (plain rounding) to 1 squared step a bit")

    def fit(self, x: Tensor, seed: int) -> Codec:
        """Return the codec with a concrete step: the largest found that stays within ``nmse``. Fine steps: `Step`."""
        peak = largest(x)
        if self.step is not None:
            return self if peak * _FINEST <= self.step else parse(f"Step(step={self.step!r})")
        assert self.nmse is not None
        if peak == 0.0:
            return replace(self, nmse=None, step=1.0)
        found = self._search(x, peak)
        return replace(self, nmse=None, step=found) if found else parse(f"Step(nmse={self.nmse!r})").fit(x, seed)

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return int32 symbols of x's shape, the step, and three offsets (uint8, in 256ths of a step, plus 128)."""
        step = self._step(x)
        flat = x.detach().to(Spec.of(x).working).reshape(-1).cpu().contiguous().numpy()
        chosen = rdo.choose(flat, tuple(x.shape), 1.0 / float(step), self.trade)
        offsets = torch.from_numpy((chosen.offsets * UNITS + 128).astype(np.uint8))
        symbols = torch.from_numpy(chosen.symbols).reshape(x.shape)
        return {"symbols": symbols, "step": step, "offsets": offsets}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the symbols, the step and the offsets."""
        return {
            "symbols": Spec(spec.shape, torch.int32),
            "step": Spec((1,), spec.working),
            "offsets": Spec((3,), torch.uint8),
        }

    def from_parts(self, parts: Mapping[str, Tensor | Encoded], spec: Spec, seed: int) -> Tensor:
        """Return ``(256 * symbol + offset of its magnitude) * step / 256``: an integer times a number, rounded once."""
        plain = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        step, offsets = float(plain["step"]), plain["offsets"].numpy()
        if not 0 < step < math.inf:
            raise WireError(f"rdoq: the step is {step}, expected a positive finite number")
        kind = np.float64 if spec.working == torch.float64 else np.float32
        out, at = fresh.empty((spec.numel,), spec.dtype), 0
        for piece in _pieces(parts["symbols"]):
            points = rdo.points_of(piece.to(torch.int32).numpy(), offsets, step, kind)
            out[at : at + len(piece)] = saturate(torch.from_numpy(points), spec.dtype)
            at += len(piece)
        return out.reshape(spec.shape)

    def _step(self, x: Tensor) -> Tensor:
        assert self.step is not None
        spec = Spec.of(x)
        limits = torch.finfo(spec.working)
        return torch.tensor([self.step], dtype=torch.float64).clamp(limits.tiny, limits.max / 4).to(spec.working)

    def _search(self, x: Tensor, peak: float) -> float | None:
        """Return a step within the bound; a sample of rows says where to begin."""
        assert self.nmse is not None
        bound = self.nmse
        first = (largest_step(x, bound, 0.5) or 0.0) / _COARSER
        sample, least, most = _rows(x), peak * _FINEST, peak * _ZERO
        if sample.numel() < x.numel():
            found = largest_within(lambda step: self._error(sample, step), first, bound, _SLACK, least, most)
            first = found or first
        return largest_within(lambda step: self._error(x, step), first, bound, _SLACK, least, most)

    def _error(self, x: Tensor, step: float) -> float:
        codec = replace(self, nmse=None, step=step)
        return nmse(x, codec.from_parts(codec.to_parts(x, 0, {})[0], Spec.of(x), 0))


def _pieces(part: Tensor | Encoded) -> Iterator[Tensor]:
    """Yield the flat pieces of symbols."""
    return pieces_of(part) if isinstance(part, Encoded) else iter(torch.split(part.reshape(-1), _PIECE))


def _rows(x: Tensor) -> Tensor:
    """Return every so many-th row, enough to tell how the error goes with the step."""
    return x[:: max(1, x.numel() // _SAMPLE)] if x.dim() > 1 and x.shape[0] > 64 else x
