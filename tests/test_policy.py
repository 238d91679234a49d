"""Policies: what a plan says, and that an error bound is kept on what the peer decodes."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import Codec, Spec, Specs
from thinwire.policy import Policy
from thinwire.testing import suited
from thinwire.testing.strategies import finite

SPECS: Specs = {
    "conv.weight": Spec((16, 64), torch.float32),
    "conv.bias": Spec((16,), torch.float32),
    "long.vector": Spec((5000,), torch.float32),
    "just.below": Spec((33, 31), torch.float32),
    "just.large": Spec((32, 32), torch.float32),
    "scalar": Spec((), torch.int64),
}
LARGE = {"conv.weight", "just.large"}
POLICIES = ["Fixed(TopK(0.1))", "ErrorBound(nmse=0.1)", "ByVolume()", "WarmUp(TopK(0.1))"]


@pytest.mark.parametrize("text", POLICIES)
def test_a_plan_names_every_tensor_once_and_spares_small_ones(text: str) -> None:
    plan = tw.parse(text).plan(SPECS, tw.Signals())
    assert list(plan) == list(SPECS)
    assert {name for name, codec in plan.items() if codec != tw.Raw()} == LARGE


def test_what_small_means_is_a_field() -> None:
    plan = tw.Fixed(tw.TopK(0.1), small=tw.Planes(), below=1025).plan(SPECS, tw.Signals())
    assert set(plan.values()) == {tw.Planes()}
    assert tw.Fixed(tw.TopK(0.1), below=0).plan(SPECS, tw.Signals())["just.below"] == tw.TopK(0.1)


def test_fixed_ignores_the_signals() -> None:
    policy = tw.Fixed(tw.TopK(0.1))
    assert policy.plan(SPECS, tw.Signals()) == policy.plan(SPECS, tw.Signals(round=9, volume_quantile=0.1, samples=3))


def test_warm_up_goes_through_its_densities_and_ends_at_the_codecs_own() -> None:
    policy = tw.WarmUp(tw.TopK(0.001, values=tw.Cast()))
    densities = [policy.level(tw.Signals(round=round)).density for round in range(1, 8)]  # type: ignore[attr-defined]
    assert densities == [0.25, 0.0625, 0.015625, 0.004, 0.001, 0.001, 0.001]
    assert policy.level(tw.Signals(round=2)) == tw.TopK(0.0625, values=tw.Cast())
    assert policy.plan(SPECS, tw.Signals(round=1))["conv.weight"] == tw.TopK(0.25, values=tw.Cast())


def test_warm_up_takes_rounds_together_and_is_never_sparser_than_its_codec() -> None:
    policy = tw.WarmUp(tw.RandomK(0.05), densities=(0.5, 0.25, 0.01), every=3)
    densities = [policy.level(tw.Signals(round=round)).density for round in range(1, 11)]  # type: ignore[attr-defined]
    assert densities == [0.5] * 3 + [0.25] * 3 + [0.05] * 4
    assert tw.WarmUp(tw.TopK(0.1), densities=()).level(tw.Signals()) == tw.TopK(0.1)


def test_a_warm_up_of_a_codec_without_density_is_dense_rounds() -> None:
    codec = tw.LowRank(rank=2, method="range")
    policy = tw.WarmUp(codec, densities=(1.0,), every=2)
    assert [policy.level(tw.Signals(round=n)) for n in (1, 2, 3)] == [tw.Raw(), tw.Raw(), codec]
    assert tw.parse(str(policy)) == policy


COARSE, MIDDLE, FINE = tw.Uniform(bits=8), tw.Uniform(bits=12), tw.Uniform(bits=16)


def by_the_rule(sizes: list[int], client: int, e: int, rounds: int) -> Codec:
    """The rule, word by word and in fractions: sort the clients by data size and look at the quantile's client."""
    up_to_coarse = Fraction(6, 10) - Fraction(6, 10) * Fraction(e - 1, rounds)
    up_to_middle = Fraction(8, 10) - Fraction(6, 10) * Fraction(e - 1, rounds)
    no_larger = sum(1 for size in sizes if size <= sizes[client])
    if e == 1:
        return FINE
    if Fraction(no_larger, len(sizes)) <= up_to_coarse:
        return COARSE
    return MIDDLE if Fraction(no_larger, len(sizes)) <= up_to_middle else FINE


def test_by_volume_follows_its_rule_on_a_grid_of_rounds_and_clients() -> None:
    policy = tw.ByVolume()
    wrong = []
    for clients in (1, 2, 3, 5, 10, 20):
        sizes = [100 * (i * 7 % clients) for i in range(clients)]
        for rounds in (1, 2, 3, 5, 10, 30):
            for e in range(1, rounds + 1):
                for client in range(clients):
                    quantile = sum(size <= sizes[client] for size in sizes) / clients
                    level = policy.level(tw.Signals(round=e, rounds=rounds, volume_quantile=quantile))
                    if level != by_the_rule(sizes, client, e, rounds):
                        wrong.append((clients, rounds, e, quantile, level))
    assert wrong == []


def test_by_volume_tightens_over_the_rounds_and_loosens_with_less_data() -> None:
    order = [COARSE, MIDDLE, FINE]
    for rounds in (4, 20):
        for quantile in (0.1, 0.5, 0.9):
            levels = [
                order.index(tw.ByVolume().level(tw.Signals(round=e, rounds=rounds, volume_quantile=quantile)))  # type: ignore[arg-type]
                for e in range(2, rounds + 1)
            ]
            assert levels == sorted(levels)


def test_by_volume_is_fine_first_and_where_the_quantile_is_unknown() -> None:
    policy = tw.ByVolume(fine_rounds=3, fine=tw.Raw())
    assert policy.level(tw.Signals(round=9, rounds=10)) == tw.Raw()
    assert policy.level(tw.Signals(round=3, rounds=10, volume_quantile=0.01)) == tw.Raw()
    assert policy.level(tw.Signals(round=4, rounds=10, volume_quantile=0.01)) == COARSE
    assert policy.plan(SPECS, tw.Signals(round=4, rounds=10, volume_quantile=0.01))["conv.weight"] == COARSE


TEMPLATES = ["Step()", "Step(absolute=0.1)", "Uniform(block=64)", "Uniform(bits=4)", "LowRank(rank=2)", "Smallest()"]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("nmse", [0.3, 0.01, 1e-5])
def test_an_error_bound_is_kept_whatever_the_template_asked_for(template: str, nmse: float) -> None:
    tensors = {"w": suited("update", (64, 40)), "conv": suited("update", (16, 8, 3, 3), seed=2)}
    policy = tw.ErrorBound(nmse=nmse, codec=tw.parse(template))
    message, _, report = tw.Compressor(policy, tw.NoFeedback()).compress(tensors, {})
    for name, x in tensors.items():
        decoded = tw.decode(message[name]).double()
        assert float((x - decoded).square().sum() / x.double().square().sum()) <= nmse
        assert report.tensors[name].nmse <= nmse * (1 + 1e-4)


@given(finite((torch.float32,)), st.floats(-8, -0.1))
def test_an_error_bound_holds_for_any_tensor(x: Tensor, exponent: float) -> None:
    policy: Policy = tw.ErrorBound(nmse=10.0**exponent, below=0, small=tw.Step(nmse=1e-9))
    _, _, report = tw.Compressor(policy, tw.NoFeedback()).compress({"x": x}, {})
    assert report.tensors["x"].nmse <= 10.0**exponent * (1 + 1e-4)


@pytest.mark.parametrize("codec", ["TopK(0.1)", "Raw()", "Cast()"])
def test_an_error_bound_needs_a_codec_that_has_one(codec: str) -> None:
    with pytest.raises(ValueError, match="has no error bound"):
        tw.ErrorBound(codec=tw.parse(codec))


@pytest.mark.parametrize("nmse", [-0.1, 1.0, float("nan")])
def test_an_impossible_error_bound_is_refused_at_once(nmse: float) -> None:
    with pytest.raises(ValueError, match="nmse is"):
        tw.ErrorBound(nmse=nmse)
