"""The arithmetic of a round and the verdict: laws, without a clock."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from thinwire.lab.advise.rows import Row
from thinwire.lab.advise.times import Leg, break_even_bps, codec_s, floor_s, round_s, sent_bytes
from thinwire.lab.advise.verdict import COMPRESS, DENSE, EITHER, NEAR, WORTH, Verdict, best_of, judge
from thinwire.lab.links import Link
from thinwire.lab.traces import Trace

some_seconds = st.floats(1e-6, 100)
some_bytes = st.floats(1, 1e10)
receivers = st.integers(1, 50)


@st.composite
def messages(draw: st.DrawFn) -> tuple[tuple[Leg, ...], tuple[Leg, ...]]:
    """A round's legs, compressed and dense."""
    ways = draw(st.sampled_from([("up",), ("down",), ("down", "up")]))
    coded = tuple(Leg(way, draw(some_bytes), draw(some_seconds), draw(some_seconds), draw(receivers)) for way in ways)
    return coded, tuple(Leg(way, draw(some_bytes), 0.0, 0.0) for way in ways)


def seconds(bps: float, legs: tuple[Leg, ...], rtt_s: float = 0.0, compute_s: float = 0.0) -> float:
    return float(round_s(Link(bps, rtt_s), legs, compute_s)[0])


@given(messages(), st.floats(0, 2), st.floats(0, 100))
def test_at_break_even_both_take_as_long_below_compressing_wins_above_it_loses(both, rtt_s, compute_s) -> None:
    coded, dense = both
    limit_bps = break_even_bps(coded, dense)
    if limit_bps == 0:
        assert sent_bytes(coded) >= sent_bytes(dense)
        return
    assume(1 < limit_bps < 1e15)
    assert seconds(limit_bps, coded, rtt_s, compute_s) == pytest.approx(seconds(limit_bps, dense, rtt_s, compute_s))
    assert seconds(limit_bps / 2, coded) < seconds(limit_bps / 2, dense)
    assert seconds(limit_bps * 2, coded) > seconds(limit_bps * 2, dense)


@given(messages())
def test_break_even_is_the_textbook_formula(both) -> None:
    coded, dense = both
    ratio = sent_bytes(dense) / sent_bytes(coded)
    assume(ratio > 1.001)
    formula = (1 - 1 / ratio) * 8 * sent_bytes(dense) / codec_s(coded)
    assert break_even_bps(coded, dense) == pytest.approx(formula, rel=1e-6)


def test_codecs_that_take_no_time_pay_on_any_link() -> None:
    assert break_even_bps((Leg("up", 1, 0, 0),), (Leg("up", 2, 0, 0),)) == math.inf
    assert break_even_bps((Leg("up", 2, 0, 0),), (Leg("up", 2, 0, 0),)) == 0


@given(messages(), st.floats(1e3, 1e12), st.floats(0, 2), st.floats(0, 100))
def test_a_round_is_the_sum_of_its_parts_and_never_below_the_floor(both, bps, rtt_s, compute_s) -> None:
    legs, link = both[0], Link(bps, rtt_s)
    slow = compute_s
    for leg in legs:
        slow += leg.encode_s + rtt_s / 2 + 8 * leg.sent_bytes / bps
        for _ in range(leg.receivers):
            slow += leg.decode_s
    assert seconds(bps, legs, rtt_s, compute_s) == pytest.approx(slow)
    assert slow >= floor_s(link, legs, compute_s)
    empty = tuple(Leg(leg.direction, 0, 0, 0) for leg in legs)
    assert seconds(bps, empty, rtt_s, compute_s) == pytest.approx(floor_s(link, legs, compute_s))


@given(messages(), st.floats(1e3, 1e9), st.floats(0, 2), st.floats(0, 100))
def test_a_round_over_a_constant_trace_is_one_over_a_constant_link(both, bps, rtt_s, compute_s) -> None:
    legs = tuple(replace(leg, sent_bytes=math.ceil(leg.sent_bytes)) for leg in both[0])
    trace = Trace(np.array([0.0, 50.0]), np.array([bps]))
    rounds = round_s(Link(trace, rtt_s), legs, compute_s)
    assert rounds == pytest.approx(seconds(bps, legs, rtt_s, compute_s), rel=1e-6, abs=1e-6)


def test_what_comes_down_is_not_sent_up_at_the_same_moment() -> None:
    # One second of 8 bits, then one of 16: a byte down takes the first, two bytes up the second.
    trace = Trace(np.array([0.0, 1.0, 2.0]), np.array([8.0, 16.0]))
    link = Link(trace)
    legs = (Leg("up", 2, 0, 0), Leg("down", 1, 0, 0))
    start = link.starts_s()
    at_zero = round_s(link, legs, 0.0)[np.argmin(start)]
    assert at_zero == pytest.approx(2.0, abs=0.02)


def row(
    option: str, round_s: float, nmse: float = 0.0, sent: float = 10.0, codec: float = 0.1, slow: float = 0.0
) -> Row:
    return Row(option, (Leg("up", sent, codec, 0.0),), nmse, round_s, round_s, slow or round_s, 5)


BASELINE = row("none", 10.0, sent=1000.0, codec=0.0)


def verdict(*rows: Row, most_nmse: float = 0.25) -> Verdict:
    return judge((BASELINE, *rows), most_nmse, 1e6, 0.0)


def test_what_shortens_the_round_is_advised() -> None:
    found = verdict(row("a", 5.0), row("b", 2.0))
    assert (found.action, found.option) == (COMPRESS, "b")
    assert "instead of" in found.sentence


def test_an_error_above_the_limit_is_never_advised_but_said() -> None:
    found = verdict(row("a", 5.0), row("b", 2.0, nmse=0.5))
    assert found.option == "a"
    assert any(text.startswith("b is quicker") for text in found.details)
    assert verdict(row("a", 5.0), row("b", 2.0, nmse=0.5), most_nmse=0.5).option == "b"
    alone = verdict(row("b", 2.0, nmse=0.5))
    assert (alone.action, alone.option) == (DENSE, "")
    assert "0.25" in alone.sentence


def test_of_nearly_equal_rounds_the_least_error_wins() -> None:
    assert verdict(row("a", 2.0, nmse=0.2), row("b", 2.0 * NEAR - 0.01, nmse=0.1)).option == "b"
    assert verdict(row("a", 2.0, nmse=0.2), row("b", 2.0 * NEAR + 0.01, nmse=0.1)).option == "a"


def test_longer_rounds_are_not_advised() -> None:
    found = verdict(row("a", 12.0), row("b", 11.0))
    assert (found.action, found.option) == (DENSE, "")
    assert found.sentence.startswith("Do not compress: this link (1 Mbit/s) is faster than the codecs")
    assert any("begins to pay below" in text for text in found.details)


def test_a_gain_that_is_hardly_one_is_not_called_one() -> None:
    found = verdict(row("a", 9.9, sent=300), row("b", 9.95, sent=10, nmse=0.1))
    assert (found.action, found.option) == (EITHER, "b")
    assert "hardly matters" in found.sentence


def test_options_that_send_no_less_are_not_blamed_on_the_link() -> None:
    found = verdict(row("a", 10.5, sent=1000.0))
    assert found.action == DENSE
    assert "no option" in found.sentence


def test_timings_that_could_turn_the_verdict_are_said() -> None:
    assert any("close call" in text for text in verdict(row("a", 9.0, slow=10.5)).details)
    assert not any("close call" in text for text in verdict(row("a", 9.0, slow=9.5)).details)


rows = st.builds(
    row,
    st.sampled_from("abcdef"),
    st.floats(0.01, 100),
    st.floats(0, 1),
    st.floats(1, 2000),
    st.floats(1e-6, 10),
    st.floats(0.01, 100),
)


@given(st.lists(rows, max_size=6), st.floats(0, 1))
def test_a_verdict_never_breaks_its_rules(others: list[Row], most_nmse: float) -> None:
    found = verdict(*others, most_nmse=most_nmse)
    allowed = [item for item in others if item.nmse <= most_nmse]
    named = [item for item in allowed if item.option == found.option]
    if found.action == COMPRESS:
        assert any(item == best_of(allowed) and item.speed_up(BASELINE) >= WORTH for item in named)
    elif found.action == EITHER:
        assert any(item.round_s <= BASELINE.round_s and item.sent_bytes < BASELINE.sent_bytes for item in named)
    else:
        assert not found.option
        assert all(item.round_s * WORTH * NEAR > BASELINE.round_s for item in allowed)


@given(st.lists(rows, min_size=1, max_size=6))
def test_the_best_is_near_the_quickest_and_none_as_near_errs_less(options: list[Row]) -> None:
    best, quickest_s = best_of(options), min(item.round_s for item in options)
    assert best.round_s <= NEAR * quickest_s
    assert all(item.nmse >= best.nmse for item in options if item.round_s <= NEAR * quickest_s)
