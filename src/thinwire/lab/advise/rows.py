"""One line of the answer: what an option costs in a round over a link."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinwire.lab.advise.measure import Measured
from thinwire.lab.advise.times import Leg, break_even_bps, codec_s, round_s, sent_bytes
from thinwire.lab.links import Link

NONE = "none"
"""The option that compresses nothing: what all others are compared with."""


@dataclass(frozen=True)
class Row:
    """An option in a round: one leg a direction, and the round's seconds: mean, 95th percentile, with slow codecs."""

    option: str
    legs: tuple[Leg, ...]
    nmse: float
    round_s: float
    p95_s: float
    slow_s: float
    timings: int
    cores: float = 1.0

    @property
    def sent_bytes(self) -> float:
        """Bytes of a round, all directions."""
        return sent_bytes(self.legs)

    @property
    def codec_s(self) -> float:
        """Seconds of encoding and decoding in a round."""
        return codec_s(self.legs)

    def ratio(self, dense: Row) -> float:
        """Return how many times fewer bytes than another."""
        return dense.sent_bytes / self.sent_bytes if self.sent_bytes else math.inf

    def speed_up(self, dense: Row) -> float:
        """Return how many times shorter a round is than with another."""
        return dense.round_s / self.round_s if self.round_s else 1.0

    def break_even_bps(self, dense: Row) -> float:
        """Return the bandwidth above which this one loses against sending everything dense."""
        return break_even_bps(self.legs, dense.legs)


def row(option: str, measured: Mapping[str, Measured], link: Link, compute_s: float, clients: int) -> Row:
    """Return the row of an option, measured in each direction (``up``, ``down``) of a round."""
    legs = tuple(_leg(way, item, clients) for way, item in measured.items())
    slow = tuple(_slow(way, item, clients) for way, item in measured.items())
    rounds = round_s(link, legs, compute_s)
    return Row(
        option,
        legs,
        max(item.nmse for item in measured.values()),
        float(np.mean(rounds)),
        float(np.quantile(rounds, 0.95)),
        float(np.mean(round_s(link, slow, compute_s))),
        min(item.timings for item in measured.values()),
        min(item.cores for item in measured.values()),
    )


def _leg(way: str, item: Measured, clients: int) -> Leg:
    return Leg(way, item.sent_bytes, item.encode_s, item.decode_s, clients if way == "up" else 1)


def _slow(way: str, item: Measured, clients: int) -> Leg:
    return Leg(way, item.sent_bytes, item.slow_encode_s, item.slow_decode_s, clients if way == "up" else 1)


def described(rows: Sequence[Row], most_nmse: float) -> list[dict[str, Any]]:
    """Return the rows as JSON has them. A break-even bandwidth of null: it pays on any link."""
    dense = rows[0]
    return [
        {
            "option": row.option,
            "sent_bytes": round(row.sent_bytes),
            "ratio": row.ratio(dense),
            "nmse": _number(row.nmse),
            "within": row.nmse <= most_nmse,
            "encode_s": sum(leg.encode_s for leg in row.legs),
            "decode_s": sum(leg.decode_s for leg in row.legs),
            "codec_s": row.codec_s,
            "round_s": row.round_s,
            "round_p95_s": row.p95_s,
            "round_slow_s": row.slow_s,
            "speed_up": row.speed_up(dense),
            "break_even_bps": None if row is dense else _number(row.break_even_bps(dense)),
            "timings": row.timings,
            "cores": row.cores,
            "legs": [leg.__dict__ for leg in row.legs],
        }
        for row in rows
    ]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
