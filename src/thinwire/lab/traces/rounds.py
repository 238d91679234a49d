"""Rounds of training over traced links: who trains for how long, and what is in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thinwire.lab.traces.trace import Floats, Trace
from thinwire.policy import Turn

PAUSE_S = 2.0
"""Between a deadline and the start of the next round."""
CLIENTS_SPREAD, ROUNDS_SPREAD = 0.5, 0.15
"""Deviations of the logarithm of training time: from client to client, and from round to round."""
TRAINING_SHARE = 0.25
"""The median client trains for that much of the deadline."""


@dataclass(frozen=True, eq=False)
class Fleet:
    """Clients, each with a link, a moment of its trace at which the first round starts, and a training time a round."""

    seconds: float
    latency_s: float
    links: tuple[Trace, ...]
    starts_s: Floats
    compute_s: Floats
    """float64 [clients, rounds]."""

    @property
    def rounds(self) -> int:
        """How many rounds it is drawn for."""
        return int(self.compute_s.shape[1])

    def turn(self, client: int, round_: int, sent_bytes: int, codec_s: float = 0.0) -> tuple[Turn, bool]:
        """Return what a client measures in a round (from 0), and whether its message was in time.

        At the deadline the message is cut off: what got through by then, and the time that took, are measured.
        """
        compute_s = float(self.compute_s[client, round_])
        left_s = max(0.0, self.seconds - compute_s - codec_s)
        begin_s = self._begin_s(client, round_) + compute_s + codec_s
        send_s = self.links[client].send_s(begin_s, sent_bytes, self.latency_s)
        if send_s <= left_s:
            return Turn(sent_bytes, send_s, compute_s=compute_s, codec_s=codec_s), True
        through = self.links[client].carried_bytes(begin_s, left_s - self.latency_s)
        return Turn(int(through), left_s, compute_s=compute_s, codec_s=codec_s), False

    def room_bytes(self, client: int, round_: int) -> float:
        """Return how many bytes would just be in time in a round, if coding took none."""
        compute_s = float(self.compute_s[client, round_])
        left_s = self.seconds - compute_s - self.latency_s
        return self.links[client].carried_bytes(self._begin_s(client, round_) + compute_s, left_s)

    def _begin_s(self, client: int, round_: int) -> float:
        return float(self.starts_s[client]) + round_ * (self.seconds + PAUSE_S)


def fleet(links: Sequence[Trace], clients: int, rounds: int, seconds: float, latency_s: float, seed: int) -> Fleet:
    """Return clients on random links from random moments; log-normal training times across clients and rounds."""
    rng = np.random.default_rng(seed)
    chosen = tuple(links[at] for at in rng.integers(0, len(links), clients))
    starts_s = np.array([rng.uniform(0, link.duration_s) for link in chosen])
    each = rng.lognormal(np.log(TRAINING_SHARE * seconds), CLIENTS_SPREAD, (clients, 1))
    return Fleet(seconds, latency_s, chosen, starts_s, each * rng.lognormal(0, ROUNDS_SPREAD, (clients, rounds)))


def median_bytes(links: Sequence[Trace], seconds: float, draws: int = 50) -> float:
    """Return what a link carries in so many seconds: the median over all links and random moments of each."""
    rng = np.random.default_rng(0)
    starts = [(link, rng.uniform(0, link.duration_s)) for link in links for _ in range(draws)]
    return float(np.median([link.carried_bytes(at, seconds) for link, at in starts]))
