"""Codes of two widths: the coarse ones of a tensor and the fine ones, apart and together again."""

from __future__ import annotations

import torch
from torch import Tensor

from thinwire.kernels.hadamard.plan import Plan, Run


def parted(codes: Tensor, plan: Plan, seed: int) -> tuple[Tensor, Tensor]:
    """Return the coarse and the fine codes (1-D), each in order of the elements, out of all of them (padded)."""
    if not plan.fines:
        return codes, codes[:0]
    coarse, fine = [], []
    for run in plan.runs:
        rows = codes[run.start : run.end].view(run.count, run.size)
        left, right = _places(plan, run, seed, codes.device)
        coarse.append(rows.index_select(1, left).view(-1))
        fine.append(rows.index_select(1, right).view(-1))
    return torch.cat(coarse), torch.cat(fine)


def joined(coarse: Tensor, fine: Tensor, plan: Plan, seed: int) -> Tensor:
    """Invert ``parted``."""
    if not plan.fines:
        return coarse
    codes, used = coarse.new_empty(plan.padded), 0
    for run in plan.runs:
        rows = codes[run.start : run.end].view(run.count, run.size)
        left, right = _places(plan, run, seed, codes.device)
        fines = run.count * len(right)
        rows.index_copy_(1, left, coarse[run.start - used : run.end - used - fines].view(run.count, -1))
        rows.index_copy_(1, right, fine[used : used + fines].view(run.count, -1))
        used += fines
    return codes


def _places(plan: Plan, run: Run, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    mask = plan.mask(run.size, seed).to(device)
    return (mask == 0).nonzero().view(-1), mask.nonzero().view(-1)
