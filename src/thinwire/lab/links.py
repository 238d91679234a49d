"""A link as people describe it: "20 Mbit/s", "50 ms", or a trace; and how long bytes take over it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thinwire.lab.traces import BadTrace, Trace, parse
from thinwire.lab.traces.trace import Floats

STARTS = 400
"""Moments of a trace that a round is started at."""
_AMOUNT = re.compile(r"(\d+\.?\d*|\.\d+)\s*([a-zA-Zµ/]+)")
_MOST_DIGITS = 20
_DECIMAL = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Link:
    """A link of one bandwidth, or one whose bandwidth follows a trace. ``rtt_s`` is there and back, in seconds.

    Raises ValueError for numbers out of range.
    """

    bandwidth: float | Trace
    rtt_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.bandwidth, Trace) and not 0 < self.bandwidth < math.inf:
            raise ValueError(f"the bandwidth is {self.bandwidth!r} bit/s, expected more than 0, such as 20Mbit")
        if not 0 <= self.rtt_s < math.inf:
            raise ValueError(f"the round trip takes {self.rtt_s!r} s, expected 0 or more")

    @property
    def latency_s(self) -> float:
        """Seconds one way."""
        return self.rtt_s / 2

    @property
    def mean_bps(self) -> float:
        """Bits per second; of a trace the mean over time."""
        return self.bandwidth.mean_bps if isinstance(self.bandwidth, Trace) else self.bandwidth

    def starts_s(self) -> Floats:
        """Return moments to start at: of a trace the same random ones at every call, else one."""
        if not isinstance(self.bandwidth, Trace):
            return np.zeros(1)
        random = np.random.default_rng(self.seed)
        return random.uniform(0, self.bandwidth.duration_s, STARTS)

    def send_s(self, at_s: Floats, sent_bytes: float) -> Floats:
        """Return the seconds from each moment until ``sent_bytes`` have arrived, latency included."""
        if isinstance(self.bandwidth, Trace):
            trace, whole = self.bandwidth, math.ceil(sent_bytes)
            return np.array([trace.send_s(float(at), whole, self.latency_s) for at in at_s])
        return np.full_like(at_s, self.latency_s + 8 * sent_bytes / self.bandwidth)


def rate_bps(text: str) -> float:
    """Read a bandwidth: '20Mbit', '1.5 Gbit/s', '800kbps' are bits, '3MB/s' bytes a second. Raises ValueError."""
    number, unit = _amount(text, "bandwidth", "20Mbit or 1.5Gbit/s")
    found = re.fullmatch(r"([kKmMgGtT]?)(bits?|bps|Bps|b|B|[bB]ytes?)(/s)?", unit)
    if not found:
        raise _unread("bandwidth", text, "20Mbit or 1.5Gbit/s")
    size = 8 if found[2] in ("B", "Bps") or found[2].lower().startswith("byte") else 1
    return number * _DECIMAL[found[1].lower()] * size


def seconds(text: str) -> float:
    """Read a duration: '50ms', '1.5 s', '2min'. Raises ValueError."""
    number, unit = _amount(text, "duration", "50ms or 12s")
    if unit not in _SECONDS:
        raise _unread("duration", text, "50ms or 12s")
    return number * _SECONDS[unit]


def size_bytes(text: str) -> float:
    """Read a size in decimal units, at least a byte: '64MB'. Raises ValueError."""
    number, unit = _amount(text, "size", "64MB")
    found = re.fullmatch(r"([kKmMgGtT]?)[bB]", unit)
    if not found:
        raise _unread("size", text, "64MB")
    size = number * _DECIMAL[found[1].lower()]
    if size < 1:
        raise ValueError(f"{text!r} is a size of {size:g} bytes, expected 1 byte or more, such as 64MB")
    return size


def read_trace(file: Path) -> Trace:
    """Read a trace: seconds and Mbit/s in two columns (blanks or a comma), or mahimahi's packet times.

    Raises BadTrace, and OSError for a file that cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
        head = text.lstrip().split("\n", 1)[0]
        return parse(text.replace(",", " ") if head.count(",") == 1 else text)
    except BadTrace as error:
        raise BadTrace(f"{file} is no bandwidth trace: {error}") from error


def _amount(text: str, what: str, such_as: str) -> tuple[float, str]:
    found = _AMOUNT.fullmatch(text.strip())
    if not found or len(found[1]) > _MOST_DIGITS:
        raise _unread(what, text, such_as)
    return float(found[1]), found[2]


def _unread(what: str, text: str, such_as: str) -> ValueError:
    return ValueError(f"{text!r} is no {what}, expected a number and a unit, such as {such_as}")
