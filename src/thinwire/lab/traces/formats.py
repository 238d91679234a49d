"""Three formats of bandwidth traces, from text to trace.

* packets: mahimahi's, one integer a line: a millisecond at which one packet of 1500 bytes could cross the link. It
  begins again at its last one, so that the single line ``1`` is a packet every millisecond, 12 Mbit/s.
* columns: seconds and Mbit/s, two numbers a line, each bandwidth until the next line's time; one line is constant.
* bitrates: a CSV with the columns ``Timestamp`` and ``DL_bitrate`` (kbit/s), rows in the order of time.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import datetime

import numpy as np

from thinwire.lab.traces.trace import BadTrace, Floats, Trace

PACKET_BITS = 1500 * 8
BIN_S = 0.1
"""Packets are counted by tenths of a second: shorter, and single packets would look like bursts and outages."""
CLOCK = "%Y.%m.%d_%H.%M.%S"
MOST_MS = 1e9
"""No packet is later: eleven days."""
LONGEST_GAP_S = 10.0
"""Where a bitrate log says nothing for longer, the link is not known: the gap is cut to this."""


def parse(text: str) -> Trace:
    """Return the trace that a text of any of the three formats describes. Raises BadTrace."""
    head = text.lstrip()[:4096].split("\n", 1)[0]
    if "DL_bitrate" in head:
        return bitrates(text)
    return columns(text) if len(head.split()) == 2 else packets(text)


def packets(text: str) -> Trace:
    """Return the trace of a packet delivery file; it begins again at its last packet. Raises BadTrace."""
    at_ms = _numbers(filter(str.strip, text.splitlines()), "a millisecond a line")
    if not len(at_ms) or not 0 < at_ms[-1] <= MOST_MS or not (np.diff(at_ms) >= 0).all() or at_ms[0] < 0:
        raise BadTrace("expected milliseconds that do not fall, one a line, the last above 0 and at most 1e9")
    end_s = float(at_ms[-1]) / 1000
    # What is left of less than half a bin is a part of the last one: a short trace is one bin.
    edges = np.append(np.arange(0.0, max(end_s - BIN_S / 2, BIN_S / 2), BIN_S), end_s)
    counts, _ = np.histogram(at_ms / 1000, edges)
    return Trace(edges, counts * PACKET_BITS / np.diff(edges))


def columns(text: str) -> Trace:
    """Return the trace of two columns, seconds and Mbit/s. Raises BadTrace."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if any(len(row) != 2 for row in rows):
        raise BadTrace("expected two numbers a line: seconds and Mbit/s")
    times_s = _numbers((row[0] for row in rows), "a time in seconds")
    return _from_samples(times_s, _numbers((row[1] for row in rows), "a bandwidth in Mbit/s") * 1e6)


def bitrates(text: str) -> Trace:
    """Return the downlink of a log of bitrates while its application was downloading. Raises BadTrace.

    Rows in another state than ``D`` say nothing of the link and are left out; rows of the same second are averaged.
    """
    by_second: dict[float, list[float]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        if (row.get("State") or "D") == "D":
            by_second.setdefault(_clock_s(row.get("Timestamp")), []).append(_kilobits(row.get("DL_bitrate")))
    times_s = np.array(sorted(by_second))
    means = np.array([1e3 * float(np.mean(by_second[at])) for at in times_s.tolist()])
    return _from_samples(_without_gaps(times_s), means)


def _from_samples(times_s: Floats, bandwidth_bps: Floats) -> Trace:
    """The last sample lasts as long as the median of the others; a single one, which is constant, a second."""
    if not len(bandwidth_bps):
        raise BadTrace("no samples, expected one or more")
    last_s = times_s[-1] + (np.median(np.diff(times_s)) if len(times_s) > 1 else 1.0)
    return Trace(np.append(times_s, last_s) - times_s[0], bandwidth_bps)


def _without_gaps(times_s: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.minimum(np.diff(times_s), LONGEST_GAP_S))])


def _numbers(words: Iterable[str], expected: str) -> Floats:
    try:
        return np.array([float(word) for word in words])
    except ValueError as error:
        raise BadTrace(f"expected {expected}: {error}") from None


def _clock_s(words: str | None) -> float:
    try:
        return (datetime.strptime(words or "", CLOCK) - datetime(2000, 1, 1)).total_seconds()
    except ValueError:
        raise BadTrace(f"Timestamp is {words!r}, expected one such as 2020.02.27_18.39.27") from None


def _kilobits(words: str | None) -> float:
    try:
        return float(words or "")
    except ValueError:
        raise BadTrace(f"DL_bitrate is {words!r}, expected kbit/s") from None
