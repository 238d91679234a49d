"""What a link carries in time, from what it carried: laws of the estimate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.policy import Turn
from thinwire.policy.estimate import HALF_LIFE, OUTLIER, WINDOW, YOUNG, bytes_per_s, high, in_time_bytes, prudent

AMOUNTS = st.lists(st.floats(1.0, 1e9), min_size=1, max_size=80)


def test_speed_leaves_the_latency_out_and_nothing_measured_is_no_speed() -> None:
    assert bytes_per_s(Turn(1000, 2.5), 0.5) == 500
    assert bytes_per_s(Turn(1000, 2.0), 5.0) == pytest.approx(8000)
    assert bytes_per_s(Turn(0, 2.0)) == bytes_per_s(Turn(1000, 0.0)) == 0.0


def test_what_would_have_been_in_time() -> None:
    turn = Turn(1000, 2.5, received_bytes=10, receive_s=1.0, compute_s=3.0, codec_s=100.0)
    assert in_time_bytes(turn, 10.0, latency_s=0.5, codec_s=1.5) == 500 * (10 - 1 - 3 - 1.5 - 0.5)
    assert in_time_bytes(turn, 4.0, latency_s=0.5) == 0.0


@given(AMOUNTS, st.integers(1, 20))
def test_a_link_that_is_faster_in_every_round_is_risked_no_less(amounts: list[float], octaves: int) -> None:
    faster = [amount * 2.0**octaves for amount in amounts]
    assert prudent(faster, 0.1, 0.2) == pytest.approx(prudent(amounts, 0.1, 0.2) * 2.0**octaves, rel=1e-6)


@given(AMOUNTS)
def test_it_is_never_more_than_a_round_allowed_that_most_rounds_allow(amounts: list[float]) -> None:
    risked = prudent(amounts, 0.1, 0.2)
    newest = np.array(amounts[-WINDOW:])
    weights = 0.5 ** (np.arange(len(newest))[::-1] / HALF_LIFE)
    if len(newest) > 1 and newest.min() * OUTLIER < np.sort(newest)[1]:
        weights[newest.argmin()] = 0.0
    assert weights[newest < risked].sum() <= 0.2 * weights.sum() + 1e-9
    assert risked <= max(newest) * len(newest) / (len(newest) + YOUNG)


@pytest.mark.parametrize("outlier", [0.0, 1.0, 1e12])
def test_one_outlier_moves_it_little(outlier: float) -> None:
    steady = np.random.default_rng(0).uniform(90, 110, 40).tolist()
    before, after = prudent(steady, 0.08, 0.2), prudent([*steady, outlier], 0.08, 0.2)
    assert after == pytest.approx(before, rel=0.1)


def test_an_unsteady_link_is_risked_less_than_a_steady_one_of_the_same_mean() -> None:
    rng = np.random.default_rng(0)
    steady, unsteady = (100 * rng.lognormal(-(deviation**2) / 2, deviation, 60) for deviation in (0.05, 1.0))
    assert prudent(unsteady.tolist(), 0.08, 0.2) < 0.5 * prudent(steady.tolist(), 0.08, 0.2)
    assert prudent(steady.tolist(), 0.08, 0.2) > 80


def test_a_slower_link_is_soon_believed() -> None:
    rounds = [100.0] * 60
    for _ in range(12):
        rounds.append(10.0)
    assert prudent(rounds, 0.08, 0.2) <= 10


def test_few_rounds_are_not_trusted_and_none_say_nothing() -> None:
    assert prudent([], 0.1, 0.2) == 0.0
    grown = [prudent([100.0] * count, 0.1, 0.2) for count in (1, 2, 5, 20, 60)]
    assert grown == sorted(grown)
    assert grown[0] == pytest.approx(100 / (1 + YOUNG))


def test_without_worth_it_is_the_least() -> None:
    assert prudent([5.0, 3.0, 9.0] * 20, 0.0, 0.5) == pytest.approx(3.0 * 60 / (60 + YOUNG))


@pytest.mark.parametrize("most_late", [0.01, 0.2])
@pytest.mark.parametrize("bad", [0.0, 1e-3, 3.0, 20.0])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 12])
def test_one_bad_round_does_not_starve_the_next_ones_wherever_it_was(count: int, bad: float, most_late: float) -> None:
    for at in (0, count // 2, count):
        rounds = [100.0] * count
        rounds.insert(at, bad)
        assert prudent(rounds, 0.05, most_late) == pytest.approx(100 * (count + 1) / (count + 1 + YOUNG))


def test_two_bad_rounds_of_few_are_no_outlier_and_neither_is_one_that_is_merely_slow() -> None:
    assert prudent([1.0, 1.0, 100.0, 100.0], 0.05, 0.2) == pytest.approx(4 / 7)
    assert prudent([50.0, 100.0, 100.0], 0.05, 0.2) == pytest.approx(25)


def test_a_high_value_leaves_one_outlier_out_and_believes_two() -> None:
    assert high([]) == high([3.0]) == 0.0
    assert high([58.0, 1.0]) == high([1.0, 58.0]) == 1.0
    assert high([58.0, 1.0, 58.0]) == 58
    assert high([9.0, 1, 2, 3, 4, 5, 6, 7, 100]) == 7
