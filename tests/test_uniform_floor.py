"""The codes of ``rounding='floor'``, which users compare one by one, are those of the formulas in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import thinwire as tw
from thinwire.codec import decode, encode
from thinwire.kernels.dispatch import unpack

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def codes(codec: tw.Uniform, x: Tensor) -> Tensor:
    return unpack(codec.to_parts(x, 0, {})[0]["codes"], codec.bits or 0, x.numel()).long()


def tensors(dtype: torch.dtype, count: int = 60) -> list[Tensor]:
    made = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in range(2, count)]
    scaled = [x * 10.0 ** (i % 9 - 4) + (i % 3) * 0.1 for i, x in enumerate(made)]
    large = torch.randn(40_000, generator=torch.Generator().manual_seed(1)).view(200, 200).T
    ties = torch.arange(-20, 21) / 4
    return [x.to(dtype) for x in [*scaled, large, ties, torch.tensor([1.0, 1.0, 2.0])]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_floor_is_the_formula_in_float64(dtype: torch.dtype, bits: int) -> None:
    codec, levels = tw.Uniform(bits=bits, rounding="floor"), 2**bits - 1
    for x in tensors(dtype):
        y = x.double().reshape(-1)
        expected = torch.floor((y - y.min()) / (y.max() - y.min()) * levels).long()
        assert torch.equal(codes(codec, x), expected)
        assert int(expected.max()) == levels


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_symmetric_floor_is_the_formula_in_float64(dtype: torch.dtype) -> None:
    for bits in (2, 8, 12):
        codec, levels = tw.Uniform(bits=bits, rounding="floor", symmetric=True), 2 ** (bits - 1) - 1
        for x in tensors(dtype):
            y = x.double().reshape(-1)
            assert torch.equal(codes(codec, x) - levels, torch.trunc(y / y.abs().max() * levels).long())


@pytest.mark.parametrize("block", [7, "channel"])
def test_every_block_has_its_own_ends(block: int | str) -> None:
    x = torch.randn(30, 45, generator=torch.Generator().manual_seed(3))
    found = codes(tw.Uniform(bits=8, rounding="floor", block=block), x)  # type: ignore[arg-type]
    rows = x.double().view(-1).split(7) if block == 7 else list(x.double())
    expected = [torch.floor((row - row.min()) / (row.max() - row.min()) * 255).nan_to_num(0).long() for row in rows]
    assert torch.equal(found, torch.cat(expected))


def test_the_published_fixed_step_is_there_code_by_code() -> None:
    x = torch.cat([torch.randn(20_000, generator=torch.Generator().manual_seed(2)), torch.arange(-254, 255) / 254])
    x = torch.cat([x, torch.tensor([128.9, -128.9])])
    published = torch.trunc(x * 127 * 2).to(torch.int16)
    assert torch.equal(codes(tw.parse("fixed-step16"), x) - 32767, published.long())
    assert torch.equal(codes(tw.parse("fixed-step8"), x) - 127, published.long().clamp(-127, 127))


def test_degenerate_tensors_decode() -> None:
    for x in (
        torch.zeros(5),
        torch.full((3, 3), -2.5),
        torch.zeros(0),
        torch.tensor(3.0),
        torch.tensor([1e-40, -1e-40]),
    ):
        for symmetric in (False, True):
            codec = tw.Uniform(bits=8, rounding="floor", symmetric=symmetric)
            assert torch.allclose(decode(encode(codec, x)), x, atol=1e-30)
