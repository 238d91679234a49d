"""Traces: exact times over changing bandwidth, against a walk from piece to piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.lab.links import read_trace
from thinwire.lab.traces import BadTrace, Trace

TRACES = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 4000)), min_size=1, max_size=12).filter(
    lambda pieces: any(rate for _, rate in pieces)
)


def made(pieces: list[tuple[int, int]]) -> Trace:
    """Return a trace of pieces (tenths of a second, bits per second)."""
    edges = np.concatenate([[0], np.cumsum([length for length, _ in pieces])]) / 10
    return Trace(edges, np.array([float(rate) for _, rate in pieces]))


def walked_s(trace: Trace, start_s: float, payload_bytes: int) -> float:
    """Walk from piece to piece until all bits are through."""
    bits, now = 8.0 * payload_bytes, start_s % trace.duration_s
    piece = max(at for at, edge in enumerate(trace.times_s[:-1]) if edge <= now)
    spent_s = 0.0
    while True:
        rest_s = trace.times_s[piece + 1] - now
        rate = trace.bandwidth_bps[piece]
        if rate * rest_s >= bits and rate:
            return float(spent_s + bits / rate)
        bits, spent_s = bits - rate * rest_s, spent_s + rest_s
        piece = (piece + 1) % len(trace.bandwidth_bps)
        now = trace.times_s[piece]


@given(TRACES, st.integers(0, 100_000), st.integers(1, 3000))
def test_a_message_takes_as_long_as_the_walk_says(pieces: list[tuple[int, int]], start: int, size: int) -> None:
    trace = made(pieces)
    start_s = start / 100 + 0.003  # off the edges, where the walk's own rounding decides
    truth = walked_s(trace, start_s, size)
    assert trace.send_s(start_s, size, 0.25) == pytest.approx(truth + 0.25, rel=1e-6, abs=1e-6)


@given(TRACES, st.integers(0, 1000), st.integers(1, 3000))
def test_what_is_carried_until_a_message_arrives_is_the_message(
    pieces: list[tuple[int, int]], start_s: int, size: int
) -> None:
    trace = made(pieces)
    assert trace.carried_bytes(start_s, trace.send_s(start_s, size)) == pytest.approx(size, rel=1e-6, abs=1e-3)


@given(TRACES, st.integers(0, 1000), st.integers(0, 3000), st.integers(0, 3000))
def test_more_bytes_never_arrive_earlier(pieces: list[tuple[int, int]], start_s: int, few: int, more: int) -> None:
    trace = made(pieces)
    assert trace.send_s(start_s, few) <= trace.send_s(start_s, few + more) + 1e-9


def test_an_outage_is_waited_out_and_the_trace_begins_again() -> None:
    trace = Trace(np.array([0.0, 1.0, 3.0]), np.array([800.0, 0.0]))
    assert trace.send_s(0.0, 100) == pytest.approx(1.0)
    assert trace.send_s(0.0, 101) == pytest.approx(3.01)
    assert trace.send_s(2.0, 150) == pytest.approx(1.0 + 3.0 + 0.5)
    assert trace.send_s(1.5, 0, 0.2) == 0.2
    assert trace.mean_bps == pytest.approx(800 / 3)


def test_a_share_of_a_link_takes_that_many_times_as_long() -> None:
    trace = Trace(np.array([0.0, 2.0]), np.array([8000.0]))
    assert trace.scaled(0.25).send_s(0.0, 1000) == pytest.approx(4 * trace.send_s(0.0, 1000))


@pytest.mark.parametrize(
    ("edges", "rates", "words"),
    [
        ([0.0, 1.0], [], "one edge more"),
        ([0.0], [], "one edge more"),
        ([0.0, 1.0, 1.0], [1.0, 1.0], "begin at 0 and rise"),
        ([1.0, 2.0], [1.0], "begin at 0 and rise"),
        ([0.0, np.inf], [1.0], "begin at 0 and rise"),
        ([0.0, 1.0], [0.0], "one at least is above 0"),
        ([0.0, 1.0], [-1.0], "one at least is above 0"),
        ([0.0, 1.0], [np.nan], "one at least is above 0"),
    ],
)
def test_what_is_no_trace_is_refused(edges: list[float], rates: list[float], words: str) -> None:
    with pytest.raises(BadTrace, match=words):
        Trace(np.array(edges), np.array(rates))


@pytest.mark.parametrize(
    ("text", "mean_bps", "duration_s"),
    [
        ("1\n", 12e6, 0.001),
        ("1", 12e6, 0.001),
        ("\n1\r\n\n", 12e6, 0.001),
        ("1\n" * 60, 720e6, 0.001),
        ("0\n1\n2\n3\n4\n5\n", 14.4e6, 0.005),
        ("2\n", 6e6, 0.002),
        ("50\n", 240e3, 0.05),
        ("51\n", 12e3 / 0.051, 0.051),
        ("100\n", 120e3, 0.1),
        ("149\n", 12e3 / 0.149, 0.149),
        ("1000\n", 12e3, 1.0),
        ("0\n0\n250\n", 144e3, 0.25),
        ("0 5\n", 5e6, 1.0),
        ("17.5 0.25", 0.25e6, 1.0),
        ("0,5\n", 5e6, 1.0),
        ("0 5\n1 5\n", 5e6, 2.0),
        ("Timestamp,State,DL_bitrate\n2020.02.27_18.39.27,D,800\n", 0.8e6, 1.0),
    ],
)
def test_short_and_constant_traces_mean_what_they_say(
    text: str, mean_bps: float, duration_s: float, tmp_path: Path
) -> None:
    (tmp_path / "trace").write_text(text)
    trace = read_trace(tmp_path / "trace")
    assert trace.mean_bps == pytest.approx(mean_bps)
    assert trace.duration_s == pytest.approx(duration_s)
    assert trace.carried_bytes(0.3, 10 * duration_s) == pytest.approx(10 * duration_s * mean_bps / 8)
    assert trace.send_s(7 * duration_s, round(mean_bps)) == pytest.approx(8, rel=0.2)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "0\n", "0\n0\n", "-1\n", "5\n4\n", "nan\n", "inf\n", "1\nnan\n", "1e300\n", "1e12\n", "x\n", "0 x\n",
        "0 0\n", "nan 5\n", "0 inf\n", "0 -5\n", "1 5\n0 5\n", "0 5 6\n", "DL_bitrate\n", "DL_bitrate,Timestamp\nx,y\n",
    ],
)  # fmt: skip
def test_short_texts_that_are_no_traces_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(text)
    with pytest.raises(BadTrace):
        read_trace(tmp_path / "trace")
