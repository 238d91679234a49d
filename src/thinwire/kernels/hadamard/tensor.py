"""A whole tensor through the rotation and back: blocks of several sizes, each with its scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thinwire.kernels import blocks, fresh, hadamard
from thinwire.kernels.hadamard.normal import UNIT, levels
from thinwire.kernels.hadamard.plan import Plan, Run

_LOW, _HIGH = 2.0**-40, 2.0**60
"""Between these, neither a float32 norm nor its inverse has overflowed or lost precision."""
_MOST_SUM = 2.0**31
_LONG, _FEW_BITS = 1 << 10, 4
_DITHER = 0x6D1735
"""Makes its draws others than those of the same seed elsewhere."""


def encode(flat: Tensor, plan: Plan, seed: int, unbiased: bool) -> tuple[Tensor, Tensor]:
    """Return codes (uint8, padded) and scales (float64, blocks) of a 1-D float32 or float64 tensor."""
    codes, signs = flat.new_empty(plan.padded, dtype=torch.uint8), plan.signs(seed)
    scales = [flat.new_zeros(0, dtype=torch.float64)]
    for run in plan.runs:
        rows, norms, units = _normalized(_rows(flat, run))
        factors = torch.where(norms > 0, run.size ** ((1 - plan.turns) / 2) / norms, 0.0).float()
        words, mask = signs[:, run.start // 64 : run.end // 64], plan.mask(run.size, seed).to(flat.device)
        moves = dither(run.size, plan.bits, seed) if unbiased else torch.zeros(run.size)
        found = hadamard.quantize(rows, factors, words, mask, moves, plan.bits)
        codes[run.start : run.end] = found.codes.view(-1)
        scales.append(_scales(found, norms, factors.double(), run.size, plan.turns, unbiased) * units)
    return codes, torch.cat(scales)


def dither(size: int, bits: int, seed: int) -> Tensor:
    """Return what blocks of a size add to their rotated elements, in standard deviations, before levels are chosen.

    One or two elements that are much larger than all others leave the rotated ones on a lattice, of ``2 / sqrt(size)``
    or ``sqrt(8 / size)``: those between two thresholds would all be rounded alike, and what is beside the large
    elements lost, or sent many times over, on average. Uniform over a cell of either, the dither makes the mean of what
    is sent go with what is there. Of many bits, a cell of the quantizer does. Long blocks have less to lose: for them
    the error that a dither adds is worth one cell at few bits, and nothing at many. Only the sender draws it.
    """
    short, cells = size < _LONG, (2 / math.sqrt(size), math.sqrt(8 / size))
    if bits > _FEW_BITS:
        cells = (min(cells[0], 2 * int(levels(bits)[1 << bits - 1]) / UNIT), 0.0) if short else (0.0, 0.0)
    elif not short:
        cells = (cells[0], 0.0)
    draws = torch.rand(2, size, generator=torch.Generator().manual_seed(seed ^ _DITHER), dtype=torch.float32)
    return draws.sub_(0.5).mul_(torch.tensor(cells)[:, None]).sum(0)


def decode(codes: Tensor, scales: Tensor, plan: Plan, seed: int) -> Tensor:
    """Return the 1-D tensor in the dtype of ``scales``: integers times their block's scale. It saturates."""
    out, signs, at = fresh.empty((plan.padded,), scales.dtype, codes.device), plan.signs(seed), 0
    for run in plan.runs:
        own, into = scales[at : at + run.count, None], out[run.start : run.end].view(run.count, run.size)
        words, mask = signs[:, run.start // 64 : run.end // 64], plan.mask(run.size, seed).to(codes.device)
        integers = hadamard.restore(codes[run.start : run.end].view_as(into), words, mask, plan.bits)
        _multiply(integers, own, into)
        at += run.count
    return out[: plan.numel]


def _multiply(integers: Tensor, scales: Tensor, into: Tensor) -> None:
    most = torch.finfo(into.dtype).max
    into.copy_(integers).mul_(scales)
    if not float(scales.max()) * _MOST_SUM < most:
        into.clamp_(-most, most)
    if not bool(scales.all()):
        into[scales[:, 0] == 0] = 0.0  # and not -0.0


def _rows(flat: Tensor, run: Run) -> Tensor:
    rows, missing = flat[run.start : run.end], max(0, run.end - flat.numel())
    return (torch.nn.functional.pad(rows, (0, missing)) if missing else rows).view(run.count, run.size)


def _normalized(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows as float32, their norms, and the units (float64) in which both are: 1 for all but extremes."""
    norms = torch.linalg.vector_norm(rows, dim=1)
    usual = (norms > _LOW) & (norms < _HIGH)
    if rows.dtype == torch.float32 and not bool(rows[~usual].any()):
        return rows, norms.double(), torch.ones_like(norms, dtype=torch.float64)
    units = blocks.largest(rows)
    units = torch.where(units > 0, units, 1)
    scaled = (rows / units).float()
    return scaled, torch.linalg.vector_norm(scaled, dim=1).double(), units[:, 0].double()


def _scales(found: hadamard.Quantized, norms: Tensor, factors: Tensor, size: int, turns: int, unbiased: bool) -> Tensor:
    """Return what the restored integers are multiplied by.

    EDEN's ``|x|**2 / <x, decoded>`` makes the decoded block's part along x exactly x, so that only the rotation decides
    where the error points; ``<x, decoded> / |decoded|**2`` leaves the least error.
    """
    along = found.dots.double() / factors
    across = found.squares.double() * float(size) ** turns
    scales = norms.square() / along if unbiased else along / across
    # Nothing at all, or so few elements sent that all of them were zero.
    return torch.where(found.dots > 0, scales, 0.0) * (2.0 ** hadamard.shift(size, turns) / UNIT)
