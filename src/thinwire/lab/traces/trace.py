"""What a link offers over time, and how long a message takes over it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class BadTrace(ValueError):
    """A trace is not of its format, or offers nothing."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Bandwidth that is constant from one edge to the next, and begins again after the last.

    ``times_s`` are the edges, from 0 and rising, float64 [n + 1]; ``bandwidth_bps`` is what the link carries between
    them, bits per second, float64 [n], none negative and not all zero. Raises BadTrace.
    """

    times_s: Floats
    bandwidth_bps: Floats

    def __post_init__(self) -> None:
        edges, rates = self.times_s, self.bandwidth_bps
        if edges.ndim != 1 or rates.ndim != 1 or len(edges) != len(rates) + 1 or not len(rates):
            raise BadTrace(f"{edges.shape} edges and {rates.shape} bandwidths, expected one edge more than bandwidths")
        if not np.isfinite(edges).all() or edges[0] != 0.0 or (np.diff(edges) <= 0).any():
            raise BadTrace("the edges of a trace begin at 0 and rise, and these do not")
        if not np.isfinite(rates).all() or (rates < 0).any() or not (rates > 0).any():
            raise BadTrace("bandwidths are finite and not negative, and one at least is above 0; these are not")

    @property
    def duration_s(self) -> float:
        """Seconds until it begins again."""
        return float(self.times_s[-1])

    @property
    def mean_bps(self) -> float:
        """Mean bandwidth, bits per second."""
        return float(self._carried_bits[-1]) / self.duration_s

    @cached_property
    def _carried_bits(self) -> Floats:
        """Bits carried from the beginning to each edge."""
        return np.concatenate([[0.0], np.cumsum(self.bandwidth_bps * np.diff(self.times_s))])

    def scaled(self, share: float) -> Trace:
        """Return the trace of a fixed share of the link."""
        return Trace(self.times_s, self.bandwidth_bps * share)

    def send_s(self, start_s: float, payload_bytes: int, latency_s: float = 0.0) -> float:
        """Return the seconds until a message that starts at ``start_s`` has arrived, latency included."""
        if payload_bytes <= 0:
            return latency_s
        bits = self._bits_until(start_s) + 8.0 * payload_bytes
        return max(self._first_time_s(bits) - start_s, 0.0) + latency_s

    def carried_bytes(self, start_s: float, seconds: float) -> float:
        """Return how many bytes the link carries in ``seconds`` from ``start_s`` on."""
        return (self._bits_until(start_s + max(seconds, 0.0)) - self._bits_until(start_s)) / 8

    def _bits_until(self, time_s: float) -> float:
        loops, within_s = divmod(time_s, self.duration_s)
        return loops * float(self._carried_bits[-1]) + float(np.interp(within_s, self.times_s, self._carried_bits))

    def _first_time_s(self, bits: float) -> float:
        """Return the first moment at which that many bits have been carried since time 0."""
        whole = float(self._carried_bits[-1])
        loops = math.ceil(bits / whole) - 1
        rest = bits - loops * whole
        piece = min(max(int(np.searchsorted(self._carried_bits, rest)) - 1, 0), len(self.bandwidth_bps) - 1)
        while not self.bandwidth_bps[piece]:  # only where rounding put the rest at the edge of an outage
            piece -= 1
        ahead_s = (rest - self._carried_bits[piece]) / self.bandwidth_bps[piece]
        return float(loops * self.duration_s + self.times_s[piece] + ahead_s)
