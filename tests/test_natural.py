"""Natural: powers of two, exactly those of the paper, in every dtype down to its last denormal."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from frames import NATURAL, frame
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import Spec, decode, encode_parts
from thinwire.kernels import powers
from thinwire.testing import suited
from thinwire.testing.strategies import FLOATS, finite

DRAWS = 1500
LIMITS = {
    torch.float32: (-149, 128),
    torch.float64: (-1074, 1024),
    torch.float16: (-24, 16),
    torch.bfloat16: (-133, 128),
}


def neighbours(value: float) -> tuple[Fraction, Fraction, Fraction]:
    """Return the powers of two around a magnitude, exactly, and the probability of the upper one."""
    below = Fraction(2) ** (math.frexp(value)[1] - 1)
    return below, 2 * below, (Fraction(value) - below) / below


def pairs(x: Tensor, decoded: Tensor) -> Iterator[tuple[float, float]]:
    """Return the elements of two tensors side by side."""
    return zip(x.reshape(-1).tolist(), decoded.reshape(-1).tolist(), strict=True)


def coded(x: Tensor, seed: int = 0, **fields: str) -> Tensor:
    """Return what decodes, also of tensors that ``encode`` would rather send losslessly."""
    return decode(encode_parts(tw.parse("Natural()") if not fields else tw.Natural(**fields), x, seed, {})[0])


@given(x=finite(), seed=st.integers(0, 2**32 - 1))
def test_every_element_becomes_a_power_of_two_beside_it(x: Tensor, seed: int) -> None:
    most = torch.finfo(x.dtype).max
    for value, found in pairs(x, decode(tw.encode(tw.Natural(), x, seed))):
        if value == 0 or found == value:
            assert found == value
        else:
            below, above, _ = neighbours(abs(value))
            assert math.copysign(found, value) == found
            assert abs(found) in (below, min(above, Fraction(most)))


@given(x=finite())
def test_nearest_takes_the_nearer_one_and_contracts(x: Tensor) -> None:
    for value, found in pairs(x, decode(tw.encode(tw.Natural(rounding="nearest"), x))):
        if value and found != value:
            below, above, fraction = neighbours(abs(value))
            assert abs(found) == min(above if fraction > Fraction(1, 2) else below, Fraction(torch.finfo(x.dtype).max))
        assert abs(Fraction(found) - Fraction(value)) <= abs(Fraction(value)) / 3


@given(x=finite(), seed=st.integers(0, 2**32 - 1))
def test_no_draw_lands_further_away_than_zero(x: Tensor, seed: int) -> None:
    decoded = decode(tw.encode(tw.Natural(), x, seed))
    assert bool(((decoded.double() - x.double()).abs() <= x.double().abs()).all())


@pytest.mark.parametrize("dtype", FLOATS)
def test_it_is_unbiased_with_a_second_moment_of_at_most_nine_eighths(dtype: torch.dtype) -> None:
    x = torch.cat([suited("update", (30,), dtype, seed=5), torch.tensor([4 / 3, -1.5, 0.01, 1.99, 1.0, 0.0]).to(dtype)])
    draws = torch.stack([coded(x, seed).double() for seed in range(DRAWS)])
    exact = x.double()
    assert bool(((draws.mean(0) - exact).abs() <= 5 * exact.abs() / (8 * DRAWS) ** 0.5).all())
    ratio = (draws.square().mean(0) / exact.square())[exact != 0]
    assert bool((ratio <= 9 / 8 * (1 + 5 / DRAWS**0.5)).all())
    assert math.isclose(float(ratio[30]), 9 / 8, rel_tol=4 / DRAWS**0.5)


class Levels:
    """A random generator that draws what it is told."""

    def __init__(self, levels: Tensor) -> None:
        self.levels = levels.numpy()

    def random(self, count: int, dtype: object) -> object:
        assert (count, dtype) == (self.levels.size, self.levels.dtype)
        return self.levels


def test_the_probability_is_exact() -> None:
    """Levels lie on a grid as fine as the mantissa: one more step of it, one more draw in 2**24."""
    x = torch.tensor([1 + 2.0**-23, 2 - 2.0**-23, 1.25])
    levels = torch.tensor([[0.0, 2.0**-23, 2.0**-23 - 2.0**-24, 0.25 - 2.0**-24, 0.25, 1 - 2.0**-23, 1 - 2.0**-24]]).T
    found = [powers.symbols(x.numpy(), Levels(level.expand(3))) for level in levels]  # type: ignore[arg-type]
    assert {largest for _, largest in found} == {1}
    assert [(symbols == 1).tolist() for symbols, _ in found] == [
        [True, True, True], [False, True, True], [True, True, True], [False, True, True], [False, True, False],
        [False, False, False], [False, False, False],
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", LIMITS)
def test_all_powers_of_the_dtype_are_exact(dtype: torch.dtype) -> None:
    bottom, top = LIMITS[dtype]
    assert (powers.bottom(dtype), powers.top(dtype)) == (bottom, top)
    x = torch.tensor([sign * math.ldexp(1.0, e) for e in range(bottom, top) for sign in (1, -1)], dtype=torch.float64)
    for rounding in ("stochastic", "nearest"):
        assert torch.equal(coded(x.to(dtype), rounding=rounding), x.to(dtype))


@pytest.mark.parametrize("dtype", LIMITS)
def test_denormals_round_to_their_own_powers(dtype: torch.dtype) -> None:
    least = math.ldexp(1.0, LIMITS[dtype][0])
    x = torch.tensor([1.0, least, 3 * least, -5 * least, 7 * least], dtype=torch.float64).to(dtype)
    found = torch.stack([coded(x, seed).double() for seed in range(50)]) / least
    assert [sorted(set(column.tolist())) for column in found.T[1:]] == [[1], [2, 4], [-8, -4], [4, 8]]
    assert (coded(x, rounding="nearest").double() / least).tolist()[1:] == [1, 2, -4, 8]


def test_float16_saturates_instead_of_overflowing() -> None:
    x = torch.tensor([65504.0, -60000.0, 32768.0] * 40, dtype=torch.float16)
    found = torch.stack([decode(tw.encode(tw.Natural(), x, seed)) for seed in range(20)])
    assert set(found.unique().tolist()) == {-65504.0, -32768.0, 32768.0, 65504.0}


def test_nothing_but_the_seed_decides() -> None:
    x = suited("update", (50, 41))
    frames = [tw.dumps({"x": tw.encode(tw.Natural(), x, seed)}) for seed in (5, 5, 6)]
    assert frames[0] == frames[1] != frames[2]
    nearest = [tw.dumps({"x": tw.encode(tw.Natural(rounding="nearest"), x, seed)}) for seed in (5, 6)]
    assert nearest[0] == nearest[1]


def test_pieces_are_drawn_as_if_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    x = suited("update", (4001,))
    whole = coded(x, 3)
    monkeypatch.setattr(powers, "PIECE", 1 << 8)
    assert torch.equal(coded(x, 3), whole)


def test_a_frame_takes_less_than_four_bits_an_element() -> None:
    x = torch.randn(500, 500, generator=torch.Generator().manual_seed(0))
    frame_bits = 8 * len(tw.dumps({"x": tw.encode(tw.Natural(), x)})) / x.numel()
    assert 3 < frame_bits < 4


def hostile(dtype: torch.dtype, symbols: tuple[int, ...], largest: int) -> tw.Encoded:
    spec = Spec((len(symbols),), dtype)
    body = struct.pack(f"<{len(symbols)}ih", *symbols, largest)
    return tw.loads(frame(NATURAL, b"\0", body, spec), {"x": spec})["x"]


@pytest.mark.parametrize("dtype", LIMITS)
def test_exponents_that_the_dtype_lacks_are_refused(dtype: torch.dtype) -> None:
    bottom, top = LIMITS[dtype]
    for largest in (bottom - 1, top + 1, -(2**15), 2**15 - 1):
        with pytest.raises(tw.WireError, match="the largest exponent is"):
            tw.decode(hostile(dtype, (1, -1), largest))
    for symbol in (2 - bottom, bottom - 2, 2**31 - 1, -(2**31)):
        with pytest.raises(tw.WireError, match="too small"):
            tw.decode(hostile(dtype, (1, symbol), 0))
    assert tw.decode(hostile(dtype, (1, 1 - bottom), 0)).tolist() == [1.0, math.ldexp(1.0, bottom)]
    assert bool(torch.isfinite(tw.decode(hostile(dtype, (1, -1), top))).all())


def test_another_rounding_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 'stochastic' or 'nearest'"):
        tw.Natural(rounding="floor")  # type: ignore[arg-type]
