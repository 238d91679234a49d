"""Rounds over traces: what a client measures, and when it is late."""

from __future__ import annotations

import numpy as np
import pytest

from thinwire.lab.traces import Trace
from thinwire.lab.traces.rounds import PAUSE_S, Fleet, fleet, median_bytes

STEADY = Trace(np.array([0.0, 10.0]), np.array([8000.0]))


def one(link: Trace, compute_s: list[float], start_s: float = 0.0) -> Fleet:
    return Fleet(10.0, 0.5, (link,), np.array([start_s]), np.array([compute_s]))


def test_a_message_in_time_is_measured_whole() -> None:
    turn, in_time = one(STEADY, [4.0]).turn(0, 0, 5000, codec_s=0.5)
    assert in_time
    assert (turn.sent_bytes, turn.compute_s, turn.codec_s) == (5000, 4.0, 0.5)
    assert turn.send_s == pytest.approx(5.5)


def test_a_late_message_is_cut_off_at_the_deadline() -> None:
    turn, in_time = one(STEADY, [4.0]).turn(0, 0, 5501)
    assert not in_time
    assert turn.send_s == pytest.approx(6.0)
    assert turn.sent_bytes == pytest.approx(5500, abs=1)


def test_training_past_the_deadline_leaves_nothing_to_send() -> None:
    turn, in_time = one(STEADY, [11.0]).turn(0, 0, 1)
    assert not in_time
    assert (turn.sent_bytes, turn.send_s) == (0, 0.0)


def test_rounds_follow_one_another_on_the_trace() -> None:
    link = Trace(np.array([0.0, 10.0 + PAUSE_S, 1000.0]), np.array([8.0, 8000.0]))
    clients = one(link, [1.0, 1.0])
    assert [clients.turn(0, round_, 1000)[1] for round_ in range(clients.rounds)] == [False, True]


def test_what_just_fits_is_in_time_and_a_byte_more_is_not() -> None:
    clients = one(Trace(np.array([0.0, 3.0, 7.0]), np.array([8000.0, 1600.0])), [2.5], start_s=1.0)
    room = int(clients.room_bytes(0, 0))
    assert [clients.turn(0, 0, room + more)[1] for more in (0, 1)] == [True, False]


def test_a_fleet_is_the_same_for_the_same_seed() -> None:
    first, again, other = (fleet([STEADY], 50, 30, 60.0, 0.1, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.compute_s, again.compute_s)
    assert np.array_equal(first.starts_s, again.starts_s)
    assert not np.array_equal(first.starts_s, other.starts_s)
    assert float(np.median(first.compute_s)) == pytest.approx(15.0, rel=0.3)


def test_the_median_link_is_neither_the_fastest_nor_the_slowest() -> None:
    links = [STEADY.scaled(k) for k in (0.01, 1.0, 100.0)]
    assert median_bytes(links, 5.0) == pytest.approx(5000)
