"""AdaQuantFL: s = ceil(s0 * sqrt(f0 / f))."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from test_policy_plateau import LOSSES, levels

import thinwire as tw


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=20), st.integers(1, 9))
def test_levels_are_those_of_the_paper(losses: list[float], s0: int) -> None:
    expected = [math.ceil(s0 * math.sqrt(losses[0] / loss)) for loss in losses]
    assert levels(tw.AdaQuantFL(tw.Qsgd(levels=s0), most=1000), [*losses]) == expected


@given(LOSSES)
def test_levels_stay_within_one_and_the_cap(losses: list[float | None]) -> None:
    assert all(1 <= level <= 48 for level in levels(tw.AdaQuantFL(tw.Qsgd(levels=3), most=16), losses))


@given(st.floats(1e-6, 10), st.floats(-1, 10), st.floats(-1, 10))
def test_a_lower_loss_is_never_coarser(first: float, one: float, other: float) -> None:
    policy = tw.AdaQuantFL()
    at_one, at_other = (levels(policy, [first, loss])[1] for loss in sorted((one, other)))
    assert at_one >= at_other


def test_losses_of_which_nothing_can_be_said() -> None:
    policy = tw.AdaQuantFL(tw.Qsgd(levels=2), most=8)
    assert levels(policy, [None, float("nan"), None]) == [2, 2, 2]
    assert levels(policy, [4.0, 1.0, None, float("inf")]) == [2, 4, 4, 4]
    assert levels(policy, [4.0, 0.0, 5e-324, -1.0]) == [2, 16, 16, 16]
    assert levels(policy, [0.0, 1.0, 0.0]) == [2, 2, 2]
    assert levels(policy, [-1.0, -2.0, 3.0]) == [2, 2, 2]
    assert levels(policy, [1e-300, 1e300]) == [2, 1]


def test_bits_grow_by_the_logarithm() -> None:
    policy = tw.AdaQuantFL(tw.Uniform(bits=4))
    kept = policy.keep(tw.Signals(loss=16.0))
    assert policy.level(tw.Signals(loss=1.0, kept=kept)) == tw.Uniform(bits=6)
    assert policy.level(tw.Signals(loss=0.9, kept=kept)) == tw.Uniform(bits=7)
