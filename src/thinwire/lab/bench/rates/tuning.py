"""Find the knob of a method that just meets an error: the error grows with the knob, steadily if not smoothly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

SLACK = 0.002
"""An error this near below the one asked for is near enough: 0.0015 bits an element."""
TRIALS = 24


@dataclass(frozen=True)
class Sent:
    """What a method made of a whole update: bytes of everything, and the error of what is decoded from them."""

    bytes: int
    nmse: float


Send = Callable[[float], Sent]


@dataclass(frozen=True)
class Knob:
    """Where to begin to turn, and how far it goes. The error grows with it; `slack` below the one asked for will do."""

    first: float
    least: float
    most: float
    slack: float = SLACK


@dataclass(frozen=True)
class Tuned:
    """The fewest bytes seen that meet the error (of equals, the largest error), and the knob that gave them."""

    knob: float
    sent: Sent


def tuned(send: Send, nmse: float, knob: Knob) -> Tuned | None:
    """Turn a knob until the error is just within `nmse`; None where no setting tried meets it.

    Regula falsi between a knob that meets and one that does not, both on a logarithmic scale, with a bisection every
    third time: about six trials.
    """
    search = _Search(nmse, knob)
    at = min(max(knob.first, knob.least), knob.most)
    for trial in range(TRIALS):
        sent = send(at)
        search.note(at, sent)
        if search.done(at, sent):
            break
        at = search.following(trial)
    return search.best


@dataclass
class _Search:
    nmse: float
    knob: Knob
    best: Tuned | None = None
    within: tuple[float, float] | None = None
    beyond: tuple[float, float] | None = None

    def note(self, at: float, sent: Sent) -> None:
        if sent.nmse > self.nmse:
            self.beyond = at, sent.nmse
            return
        self.within = at, sent.nmse
        if (sent.bytes, -sent.nmse) < self._least:
            self.best = Tuned(at, sent)

    @property
    def _least(self) -> tuple[float, float]:
        return (self.best.sent.bytes, -self.best.sent.nmse) if self.best else (math.inf, 0.0)

    def done(self, at: float, sent: Sent) -> bool:
        near = self.nmse * (1 - self.knob.slack) <= sent.nmse <= self.nmse
        stuck = (at == self.knob.most and sent.nmse <= self.nmse) or (at == self.knob.least and sent.nmse > self.nmse)
        narrow = self.within and self.beyond and self.beyond[0] / self.within[0] < 1 + 1e-7
        return near or stuck or bool(narrow)

    def following(self, trial: int) -> float:
        if self.within and self.beyond:
            return self._between(trial)
        at, error = self.within or self.beyond or (0.0, 0.0)
        # The error of a quantizer goes about with the square of its step; a little more, to have it between two.
        factor = min(max(math.sqrt(self.nmse / error), 0.2), 5.0) if error else 5.0
        return min(max(at * factor * (1.1 if factor > 1 else 0.9), self.knob.least), self.knob.most)

    def _between(self, trial: int) -> float:
        assert self.within
        assert self.beyond
        (low, small), (high, large) = self.within, self.beyond
        share = math.log(self.nmse * (1 - self.knob.slack / 2) / small) / math.log(large / small) if small > 0 else 0.5
        share = 0.5 if trial % 3 == 2 else min(max(share, 0.02), 0.98)
        return low * math.exp(share * math.log(high / low))
