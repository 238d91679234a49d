"""The cheap reads of a tensor: its energy, whether it is finite, whether it must go losslessly."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import Codec, Encoded, Spec, encode_with_history, generator
from thinwire.kernels import dispatch, fresh
from thinwire.kernels.distortion import all_finite, energies, energy, is_zero, largest
from thinwire.testing import degenerate, suited
from thinwire.testing.strategies import FLOATS, finite, kind

LARGE = (1 << 17) + 13
"""More than one chunk, and a rest."""


def truth(x: Tensor) -> float:
    return float(x.double().square().sum())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", ["normal", "constant", "sparse", "zeros", "denormal", "outlier", "magnitudes"])
def test_the_energy_is_right_to_a_ten_thousandth(name: str, dtype: torch.dtype) -> None:
    x = kind(name, (LARGE,), dtype, seed=3)
    assert energy(x) == pytest.approx(truth(x), rel=1e-4, abs=0)
    strided = x.view(-1, 5)[:, ::2].T
    assert energy(strided) == pytest.approx(truth(strided), rel=1e-4, abs=0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("lengths", [(), (0,), (7, 0, 1, 300), (40_000, 1, 0, 33_000)])
def test_the_energies_of_segments_are_those_of_each(lengths: tuple[int, ...], dtype: torch.dtype) -> None:
    names = ("normal", "outlier", "denormal", "sparse")
    parts = [kind(name, (n,), dtype, 5) for name, n in zip(names, lengths, strict=False)]
    found = energies(torch.cat([*parts, torch.zeros(0, dtype=dtype)]), lengths)
    assert found == pytest.approx([truth(part) for part in parts], rel=1e-4, abs=0)


def test_the_energy_of_a_long_constant_does_not_drift() -> None:
    assert energy(torch.full((10_000_000,), 0.1)) == pytest.approx(0.1**2 * 1e7, rel=1e-4)


@given(finite(), st.integers(-130, 60))
def test_energy_and_largest_of_any_tensor(x: Tensor, exponent: int) -> None:
    scaled = (x.double() * 2.0**exponent).to(x.dtype) if x.dtype != torch.float64 else x
    if bool(torch.isfinite(scaled).all()):
        assert energy(scaled) == pytest.approx(truth(scaled), rel=1e-4, abs=0)
        assert largest(scaled) == (float(scaled.abs().max()) if scaled.numel() else 0.0)
        assert all_finite(scaled)
        assert is_zero(scaled) == (not bool((scaled != 0).any()))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, (1 << 16) - 1, 1 << 16, LARGE - 1])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(at: int, value: float, dtype: torch.dtype) -> None:
    x = torch.randn(LARGE, generator=generator(1)).to(dtype)
    x[at] = value
    nans, infs = (1, 0) if math.isnan(value) else (0, 1)
    assert not all_finite(x)
    with pytest.raises(tw.NonFiniteError, match=f"{nans} NaN and {infs} infinite"):
        tw.encode(tw.TopK(0.01), x)


def too_extreme(x: Tensor) -> bool:
    """Return what encoding must send losslessly, by looking for the largest magnitude."""
    limits = torch.finfo(Spec.of(x).working)
    peak = float(x.double().abs().max())
    return peak != 0 and not limits.tiny * 2.0**32 <= peak <= limits.max / 4


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("numel", [1, 40, LARGE])
def test_only_extreme_magnitudes_go_losslessly(numel: int, dtype: torch.dtype) -> None:
    codec: Codec = tw.TopK(0.5)
    limits = torch.finfo(dtype)
    for exponent in [*range(-1060, 1024, 61), *range(-97, -90), *range(123, 128), *range(-996, -986), 1021, 1022]:
        x = torch.rand(numel, generator=generator(2), dtype=torch.float64).add(1) * 2.0**exponent
        if float(x.max()) <= limits.max and bool((x := x.to(dtype)).any()):
            lossless = encode_with_history(codec, x, 0, {})[0].codec == tw.Planes()
            told = encode_with_history(codec, x, 0, {}, energy(x))[0].codec == tw.Planes()
            assert lossless == told
            assert lossless == too_extreme(x) or numel == 1, exponent


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_refused_by_the_receiver(value: float) -> None:
    honest = tw.encode(tw.TopK(0.1), torch.randn(400, 500, generator=generator(1)))
    values = tw.encode(tw.Raw(), torch.full((20_000,), value))
    with pytest.raises(tw.WireError, match="not finite"):
        tw.decode(Encoded(honest.codec, honest.spec, {**honest.parts, "values": values}, 0, honest.size))


@pytest.mark.parametrize("shape", [(), (0, 3), (5, 7), (1200, 1024)])
@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64], ids=str)
def test_fresh_tensors_are_contiguous_and_their_own(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for make in (fresh.zeros, fresh.empty):
        x, other = make(shape, dtype), make(shape, dtype)
        assert Spec.of(x) == Spec(shape, dtype)
        assert x.is_contiguous()
        other.fill_(1)
        assert make is fresh.empty or is_zero(x)


def test_the_energy_of_degenerate_tensors() -> None:
    for name, x in degenerate().items():
        if x.dtype.is_floating_point and bool(torch.isfinite(x).all()) and name != "float64":
            assert energy(x) == pytest.approx(truth(x), rel=1e-4, abs=0), name


@pytest.mark.parametrize("n", [1 << 14, 20_011])
def test_a_sum_and_its_energy_in_one_sweep_are_both_of_torch(n: int) -> None:
    x, y = (suited("update", (n,), seed=seed) for seed in (1, 2))
    x[3], y[5] = 1e30, 1e-42
    out = torch.empty(n)
    assert dispatch.can_add(x, y, out)
    assert not dispatch.can_add(x[::2], y[::2], out[::2])
    assert not dispatch.can_add(x, y.double(), out)
    assert dispatch.add(x, y, out) == pytest.approx(float((x + y).double().square().sum()), rel=1e-4)
    assert torch.equal(out, x + y)
    x[7] = math.nan
    assert math.isnan(dispatch.add(x, y, out))
