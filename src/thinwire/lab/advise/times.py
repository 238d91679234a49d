"""Arithmetic of a round: how long it takes, and the bandwidth at which compressing stops paying. No clock in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thinwire import rates
from thinwire.lab.links import Link
from thinwire.lab.traces.trace import Floats


@dataclass(frozen=True)
class Leg:
    """One message of a round, in one direction, and what its codecs take at both ends.

    ``receivers`` decode one after the other in one process: a server that decodes the updates of all its clients.
    """

    direction: str
    sent_bytes: float
    encode_s: float
    decode_s: float
    receivers: int = 1

    @property
    def codec_s(self) -> float:
        """Seconds that all encoding and decoding adds to a round."""
        return self.encode_s + self.receivers * self.decode_s


def sent_bytes(legs: Sequence[Leg]) -> float:
    """Return the bytes of all legs."""
    return sum(leg.sent_bytes for leg in legs)


def codec_s(legs: Sequence[Leg]) -> float:
    """Return the codec seconds of all legs."""
    return sum(leg.codec_s for leg in legs)


def round_s(link: Link, legs: Sequence[Leg], compute_s: float) -> Floats:
    """Return the seconds of a round from each start of the link: down, training, up, whichever of these there are."""
    start = link.starts_s()
    now = start.copy()
    for leg in (leg for leg in legs if leg.direction == "down"):
        now = _after(link, leg, now)
    now += compute_s
    for leg in (leg for leg in legs if leg.direction == "up"):
        now = _after(link, leg, now)
    return now - start


def _after(link: Link, leg: Leg, now: Floats) -> Floats:
    ready = now + leg.encode_s
    return ready + link.send_s(ready, leg.sent_bytes) + leg.receivers * leg.decode_s


def floor_s(link: Link, legs: Sequence[Leg], compute_s: float) -> float:
    """Return the seconds of a round that sends nothing: what no codec can go below."""
    return compute_s + len(legs) * link.latency_s


def break_even_bps(legs: Sequence[Leg], dense: Sequence[Leg]) -> float:
    """Return the bandwidth at which a round takes as long with ``legs`` as with ``dense``: above, compressing loses.

    It is ``(1 - 1 / ratio) * dense bits / codec seconds``, those of ``dense`` (usually none) taken off; 0 where nothing
    is saved, infinity where the codecs take no time.
    """
    return rates.break_even_bps(sent_bytes(dense) - sent_bytes(legs), codec_s(legs) - codec_s(dense))
