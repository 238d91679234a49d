"""Levels by importance: DAdaQuant's client-adaptive rule, and bits that go to the tensors with the most energy."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import thinwire as tw
from thinwire.policy.importance import Basin, importances, water_filled
from thinwire.testing import suited

WEIGHTS = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=30)
SPECS = tw.specs({"w": torch.zeros(64, 32), "b": torch.zeros(64)})


@given(WEIGHTS, st.floats(1, 64))
def test_the_factors_are_those_of_the_paper(weights: list[float], q: float) -> None:
    a = sum(w ** (2 / 3) for w in weights)
    b = sum(w**2 / q**2 for w in weights)
    expected = [math.sqrt(a / b) * w ** (2 / 3) for w in weights]
    assert [q * factor for factor in importances(weights)] == pytest.approx(expected)


@given(WEIGHTS, st.floats(1e-6, 1e6))
def test_the_variance_is_that_of_equal_levels_with_no_more_levels_in_all(weights: list[float], unit: float) -> None:
    factors = importances(weights)
    variance = sum((w / factor) ** 2 for w, factor in zip(weights, factors, strict=True))
    assert variance == pytest.approx(sum(w**2 for w in weights))
    assert sum(factors) <= len(factors) * (1 + 1e-9)
    assert importances([unit * w for w in weights]) == pytest.approx(factors)
    assert sorted(weights) == [w for _, w in sorted(zip(factors, weights, strict=True))]


def test_all_alike_are_of_importance_one() -> None:
    assert importances([]) == []
    for weights in ([7.0], [1e-300, 1e-300], [3.0] * 9, [1e200] * 3):
        assert importances(weights) == pytest.approx([1.0] * len(weights))


def test_the_variance_of_a_real_weighted_average_is_that_of_equal_levels() -> None:
    """Twelve clients of unequal size send the same update; the average's squared error is measured, not derived."""
    sizes = [10.0 * 1.5**i for i in range(12)]
    x = suited("update", (64, 32))
    even = mean_error(x, sizes, [1.0] * 12)
    weighed = mean_error(x, sizes, importances(sizes))
    assert weighed == pytest.approx(even, rel=0.15)
    assert sum(importances(sizes)) < 0.75 * 12


def mean_error(x: torch.Tensor, sizes: list[float], factors: list[float]) -> float:
    errors = []
    for trial in range(40):
        total = torch.zeros_like(x)
        for client, (size, factor) in enumerate(zip(sizes, factors, strict=True)):
            codec = tw.ByImportance(tw.Fixed(tw.Qsgd(levels=400))).plan(SPECS, tw.Signals(importance=factor))["w"]
            total += size / sum(sizes) * tw.decode(tw.encode(codec, x, seed=100 * trial + client))
        errors.append(float((total - x).square().sum()))
    return sum(errors) / len(errors)


@pytest.mark.parametrize(
    ("importance", "levels"),
    [(None, 7), (1.0, 7), (2.0, 14), (0.5, 4), (1e-9, 1), (1e300, 65536), (0.0, 7), (-1.0, 7), (math.nan, 7)],
)
def test_a_clients_levels(importance: float | None, levels: int) -> None:
    plan = tw.ByImportance().plan(SPECS, tw.Signals(importance=importance))
    assert plan == {"w": tw.Qsgd(levels=levels), "b": tw.Raw()}


@pytest.mark.parametrize("codec", ["Uniform(bits=4)", "Step(nmse=0.1)", "Step(absolute=0.1)", "Eden(bits=4)", "Qsgd()"])
@pytest.mark.parametrize("factor", [1e-300, 1e-9, 0.3, 3.0, 1e9, 1e300])
def test_any_factor_leaves_a_codec_that_works(codec: str, factor: float) -> None:
    x = suited("update", (64, 32))
    plan = tw.ByImportance(tw.Fixed(tw.parse(codec))).plan(SPECS, tw.Signals(importance=factor))
    assert tw.decode(tw.encode(plan["w"], x)).shape == x.shape


def test_dadaquant_is_both_rules_at_once() -> None:
    policy = tw.zoo["dadaquant"].policy  # type: ignore[attr-defined]
    kept = {}  # type: ignore[var-annotated]
    for number in range(1, 31):
        kept = policy.keep(tw.Signals(number, loss=1.0, kept=kept))
    assert policy.plan(SPECS, tw.Signals(31, loss=1.0, kept=kept))["w"] == tw.Qsgd(levels=8)
    assert policy.plan(SPECS, tw.Signals(31, loss=1.0, kept=kept, importance=1.5))["w"] == tw.Qsgd(levels=12)


BASINS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(Basin, st.integers(1, 50), st.floats(0, 100), st.integers(-3, 0), st.integers(0, 3)),
    min_size=1,
)


@given(BASINS)
def test_no_more_bits_and_no_more_error(basins: dict[str, Basin]) -> None:
    more = water_filled(basins)
    assert more.keys() == basins.keys()
    assert all(basin.least <= more[name] <= basin.most for name, basin in basins.items())
    assert sum(basin.size * more[name] for name, basin in basins.items()) <= 0
    assert error(basins, more) <= error(basins, dict.fromkeys(basins, 0)) * (1 + 1e-12)


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(1e-3, 100), min_size=1))
def test_with_equal_sizes_nothing_is_better(densities: dict[str, float]) -> None:
    basins = {name: Basin(10, density, -2, 2) for name, density in densities.items()}
    choices = itertools.product(range(-2, 3), repeat=len(basins))
    best = min(error(basins, dict(zip(basins, more, strict=True))) for more in choices if sum(more) <= 0)
    assert error(basins, water_filled(basins)) == pytest.approx(best)


def error(basins: dict[str, Basin], more: dict[str, int]) -> float:
    return sum(basin.size * basin.density / 4.0 ** more[name] for name, basin in basins.items())


def test_four_times_the_amplitude_is_two_bits_apart() -> None:
    specs = tw.specs({"big": torch.zeros(64, 32), "little": torch.zeros(64, 32), "bias": torch.zeros(64)})
    energies = {"big": 16.0, "little": 1.0, "bias": 9.0}
    plan = tw.ByEnergy(tw.Fixed(tw.Uniform(bits=4))).plan(specs, tw.Signals(energies=energies))
    assert plan == {"big": tw.Uniform(bits=5), "little": tw.Uniform(bits=3), "bias": tw.Raw()}


@pytest.mark.parametrize("template", ["Uniform(bits=4)", "Uniform(bits=5, symmetric=True, block=64)", "Eden(bits=4)"])
def test_a_real_update_arrives_with_less_error_in_no_more_bytes(template: str) -> None:
    update = {f"layer{i}": suited("update", (48, 40 + 8 * i), seed=i) * 4.0**-i for i in range(4)}
    energies = {name: float(x.double().square().sum()) for name, x in update.items()}
    inner = f"Fixed({template})"
    even = tw.Compressor(tw.parse(inner), tw.NoFeedback()).compress(update, {}, tw.Signals(energies=energies))[2]
    moved = tw.Compressor(tw.parse(f"ByEnergy({inner})"), tw.NoFeedback())
    report = moved.compress(update, {}, tw.Signals(energies=energies))[2]
    assert report.payload_bytes <= even.payload_bytes
    assert report.nmse < 0.5 * even.nmse


@pytest.mark.parametrize("energies", [{}, {"w": 0.0}, {"w": math.nan}, {"w": 5.0}])
def test_energies_that_say_nothing_move_nothing_up(energies: dict[str, float]) -> None:
    plan = tw.ByEnergy().plan(SPECS, tw.Signals(energies=energies))
    assert plan["b"] == tw.Raw()
    assert plan["w"].bits <= 4  # type: ignore[attr-defined]
