"""Links: what people type, and how long bytes take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.lab.links import Link, rate_bps, read_trace, seconds, size_bytes
from thinwire.lab.traces import BadTrace, Trace
from thinwire.rates import rate_text

rates = st.floats(1, 1e12)
sizes = st.floats(0, 1e10)


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("20Mbit", 20e6), ("20 mbit/s", 20e6), ("1.5 Gbit/s", 1.5e9), ("800kbps", 800e3), ("100Mb", 100e6),
        ("100Mb/s", 100e6), ("3MB/s", 24e6), ("2 kBps", 16e3), (".5Tbit", 5e11), ("9600bit/s", 9600), ("1Gbyte/s", 8e9),
    ],
)  # fmt: skip
def test_bandwidths_are_read(text: str, bps: float) -> None:
    assert rate_bps(text) == pytest.approx(bps)


@pytest.mark.parametrize(
    "text", ["", "20", "fast", "20 M", "Mbit", "-3Mbit", "2Qbit", "20Mbit/h", "20 Mbit extra", "1e3"]
)
def test_what_is_no_bandwidth_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no bandwidth, expected a number and a unit"):
        rate_bps(text)


@pytest.mark.parametrize(("text", "expected"), [("50ms", 0.05), ("12 s", 12), ("2min", 120), ("250us", 250e-6)])
def test_durations_are_read(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


def test_a_duration_and_a_size_need_a_unit() -> None:
    for text in ("50", "50Mbit", "ms"):
        with pytest.raises(ValueError, match="50ms"):
            seconds(text)
    assert size_bytes("64MB") == 64e6
    for text in ("64", "64Mbit"):
        with pytest.raises(ValueError, match="64MB"):
            size_bytes(text)


@given(rates)
def test_a_bandwidth_that_is_written_can_be_read(bps: float) -> None:
    assert rate_bps(rate_text(bps)) == pytest.approx(bps, rel=0.006)


@given(rates, sizes, st.floats(0, 10))
def test_a_constant_trace_is_a_constant_link(bps: float, sent: float, rtt_s: float) -> None:
    steady = Link(bps, rtt_s)
    trace = Link(Trace(np.array([0.0, 3.0, 7.0]), np.array([bps, bps])), rtt_s)
    took = trace.send_s(trace.starts_s()[:5], sent)
    assert took == pytest.approx(float(steady.send_s(np.zeros(1), np.ceil(sent))[0]), rel=1e-6, abs=1e-6)


def test_starts_are_the_same_at_every_call_and_all_over_the_trace() -> None:
    link = Link(Trace(np.array([0.0, 1.0, 2.0]), np.array([1e6, 1e3])))
    starts = link.starts_s()
    assert np.array_equal(starts, link.starts_s())
    assert np.histogram(starts, [0, 1, 2])[0].min() > 150
    assert not np.array_equal(starts, Link(link.bandwidth, seed=1).starts_s())


@pytest.mark.parametrize(("bandwidth", "rtt_s"), [(0.0, 0), (-1.0, 0), (float("inf"), 0), (float("nan"), 0), (1.0, -1)])
def test_impossible_links_are_refused(bandwidth: float, rtt_s: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        Link(bandwidth, rtt_s)


@pytest.mark.parametrize("text", ["0 1.0\n1 3.0\n2 3.0\n", "0,1.0\n1,3.0\n2,3.0\n"])
def test_columns_may_be_parted_by_commas(text: str, tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(text)
    assert 1e6 < read_trace(tmp_path / "trace").mean_bps < 3e6


def test_packet_times_are_read_and_nonsense_is_not(tmp_path: Path) -> None:
    (tmp_path / "packets").write_text("\n".join(str(at) for at in range(1, 2001)))
    assert read_trace(tmp_path / "packets").mean_bps == pytest.approx(12e6, rel=0.01)
    (tmp_path / "bad").write_text("not a trace")
    with pytest.raises(BadTrace, match="bad is no bandwidth trace"):
        read_trace(tmp_path / "bad")
