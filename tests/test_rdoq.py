"""Rdoq: every symbol the best for its price, its bound kept, points that decode alike, fewer bytes than rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thinwire as tw
from thinwire.kernels import ans, rdo
from thinwire.kernels.distortion import nmse
from thinwire.kernels.rdo.cuts import MOST, cuts
from thinwire.kernels.rdo.decoding import TABLE, points_of
from thinwire.kernels.search import largest_within


def update(rows: int = 120, cols: int = 90, seed: int = 0) -> torch.Tensor:
    noise = torch.Generator().manual_seed(seed)
    scales = torch.randn(rows, 1, generator=noise).exp() * torch.randn(1, cols, generator=noise).exp()
    return torch.randn(rows, cols, generator=noise) * scales * 0.01


@given(st.integers(0, 2**31), st.floats(0, 1))
@settings(max_examples=30)
def test_cuts_are_those_of_the_cheapest_symbol(seed: int, trade: float) -> None:
    random = np.random.default_rng(seed)
    prices = random.exponential(4, (3, 2 * MOST + 1)).astype(np.float32)
    found = cuts(prices, trade)
    magnitudes = np.arange(MOST + 1)
    for a in random.uniform(0, 8, 40):
        table, side = random.integers(3), random.integers(2)
        bits = prices[table, MOST:] if side == 0 else prices[table, MOST::-1]
        q = MOST
        while a < found[table, side, q]:
            q -= 1
        costs = (a - magnitudes) ** 2 + trade * bits
        assert costs[q] <= costs.min() + 1e-4


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1), st.lists(st.integers(0, 255), min_size=3, max_size=3))
def test_points_are_what_the_format_says(symbols: list[int], offsets: list[int]) -> None:
    step = 0.0123
    out = points_of(np.array(symbols, np.int32), np.array(offsets, np.uint8), step, np.float32)
    for symbol, point in zip(symbols, out, strict=True):
        offset = offsets[min(abs(symbol), 3) - 1] - 128 if symbol else 0
        whole = 256 * abs(symbol) + offset
        assert point == np.float32(math.copysign(whole, symbol) * (step / 256))


def test_symbols_beyond_the_table_have_the_same_points() -> None:
    symbols = np.array([-TABLE - 1, -TABLE, -TABLE + 1, TABLE - 1, TABLE, TABLE + 1], np.int32)
    out = points_of(symbols, np.array([128, 128, 138], np.uint8), 1.0, np.float64)
    assert out.tolist() == [math.copysign(abs(s) + 10 / 256, s) for s in symbols.tolist()]


@pytest.mark.parametrize("bound", [0.5, 0.1, 0.01, 1e-4, 1e-8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_bound_is_kept_and_used(bound: float, dtype: torch.dtype) -> None:
    x = update().to(dtype)
    decoded = tw.decode(tw.encode(tw.Rdoq(nmse=bound), x))
    error = nmse(x, decoded)
    assert error <= bound
    if bound > 1e-4:
        assert error > 0.9 * bound


def test_reported_squares_are_those_of_the_decoded_tensor() -> None:
    x, step = update(), 0.02
    chosen = rdo.choose(x.reshape(-1).numpy(), tuple(x.shape), 1 / float(np.float32(step)), 0.13)
    decoded = tw.decode(tw.encode(tw.Rdoq(step=step), x))
    assert chosen.squares * step**2 == pytest.approx(float((x - decoded).double().square().sum()), rel=1e-4)


@pytest.mark.parametrize("bound", [0.1, 0.01, 0.001])
def test_fewer_bytes_than_plain_rounding_at_the_same_error(bound: float) -> None:
    x = update(400, 300)
    ours, plain = (tw.encode(tw.parse(f"{text}"), x) for text in
                   (f"Rdoq(nmse={bound})", f"Step(nmse={bound}, symbols=Ans())"))  # fmt: skip
    assert ours.payload_bytes < 0.985 * plain.payload_bytes


def test_trade_of_zero_rounds() -> None:
    x = update()
    model = ans.model(tw.encode(tw.Step(step=0.02), x).known_parts()["symbols"].reshape(-1).numpy(), tuple(x.shape))
    assert np.allclose(cuts(ans.costs(model, MOST), 0.0)[..., 1:], np.arange(1, MOST + 1) - 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Rdoq(nmse=1.0)", "less than 1"),
        ("Rdoq(nmse=0.1, step=0.1)", "either nmse or step"),
        ("Rdoq(step=0.0)", "positive"),
        ("Rdoq(trade=2.0)", "trade"),
    ],
)
def test_bad_settings_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tw.parse(text)


def test_a_step_too_fine_for_symbols_goes_to_step() -> None:
    x = update()
    assert tw.Rdoq(step=1e-12).fit(x, 0) == tw.Step(step=1e-12)


@given(st.floats(0.3, 3), st.floats(1e-3, 1e3), st.floats(1e-6, 1e3), st.floats(1e-4, 1e4))
def test_search_finds_the_largest_within(power: float, scale: float, bound: float, off: float) -> None:
    start = off * (bound / scale) ** (1 / power)
    found = largest_within(lambda x: scale * x**power, start, bound, 0.01, 1e-300)
    assert found is not None
    assert bound * 0.95 <= scale * found**power <= bound


def test_search_says_when_nothing_is_within() -> None:
    assert largest_within(lambda x: 2.0, 1.0, 1.0, 0.01, 1e-3) is None
    assert largest_within(lambda x: 0.5, 1.0, 1.0, 0.01, 1e-3, most=8.0) == 8.0
