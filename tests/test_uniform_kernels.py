"""The compiled loops of evenly spaced levels equal plain torch, bit for bit."""

from __future__ import annotations

import pytest
import torch

from thinwire.kernels import uniform, uniform_cpu

WIDTHS = [(1, 20_011), (7, 3_000), (64, 400), (333, 70), (20_000, 1)]


def groups(width: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(width)
    rows = torch.randn(count, width, generator=generator) * torch.rand(count, 1, generator=generator) * 5
    rows[0] = 0.0  # a step of 0
    rows[-1, 0] = -0.0
    return rows


def tied(rows: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Return elements that lie half-way between two levels among the others."""
    half = (rows / torch.where(step > 0, step, 1)).floor().add_(0.5).mul_(step)
    return torch.where(torch.arange(rows.shape[1]) % 3 == 0, half, rows)


@pytest.mark.parametrize(("width", "count"), WIDTHS)
@pytest.mark.parametrize("most", [1, 7, 127, 32_767])
@pytest.mark.parametrize("saturating", [1.0, 10.0, 1e30])
def test_symmetric_codes_and_values_are_the_same_bits(width: int, count: int, most: int, saturating: float) -> None:
    rows = groups(width, count)
    step = rows.abs().amax(1, keepdim=True) / most / saturating
    check(tied(rows, step), None, step, -most, most)


@pytest.mark.parametrize(("width", "count"), WIDTHS)
@pytest.mark.parametrize("most", [1, 15, 255, 65_535])
def test_affine_codes_and_values_are_the_same_bits(width: int, count: int, most: int) -> None:
    rows = groups(width, count)
    low, high = rows.aminmax(dim=1, keepdim=True)
    check(rows, low, (high - low) / most, 0, most)


def check(rows: torch.Tensor, low: torch.Tensor | None, step: torch.Tensor, least: int, most: int) -> None:
    width = rows.shape[1]
    flat = rows.reshape(-1)[: -1 if width > 1 else None]  # the last group may be short
    codes = uniform.plain_nearest(flat, low, step, width, least, most)
    assert torch.equal(codes, uniform.plain_nearest(rows.reshape(-1), low, step, width, least, most)[: len(flat)])
    assert torch.equal(uniform_cpu.nearest(flat, low, step, width, least, most), codes)
    plain, compiled = torch.empty(len(codes)), torch.empty(len(codes))
    uniform.plain_values(codes, low, step, least, width, plain)
    uniform_cpu.values(codes, low, step, least, width, compiled)
    assert torch.equal(plain.view(torch.int32), compiled.view(torch.int32))
