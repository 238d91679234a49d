"""As much as a link carries in time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from thinwire.codec import Codec, Spec, State
from thinwire.policy.estimate import bytes_per_s, high, in_time_bytes, prudent
from thinwire.policy.plan import Plan, Policy, Signals, Trial, Turn, plan_by_size
from thinwire.registry import child, register, text

_TRAINING_SHARE = 0.5
"""Of the deadline, as long as no round has been measured."""
_STATED_SHARE = 0.25
"""Of a stated bandwidth, as long as no round has been measured: what is stated is seldom what a link carries."""


@dataclass(frozen=True)
class Way:
    """One way to send a message: ``name`` is 'dense', 'cheap' or 'budget'."""

    name: str
    frame_bytes: float
    """What its frame takes; of the budget: at most."""
    codec_s: float = 0.0
    """Seconds of coding, as measured in earlier rounds that went this way; 0 where fewer than two did."""
    known: bool = True
    """Whether that was measured, or there is nothing to code."""
    in_time: bool = True
    """False: by what earlier rounds say not one byte is in time. The least is sent all the same."""


@register
@dataclass(frozen=True)
class Deadline:
    """Every round in on time: receiving, training, coding and sending within ``seconds``, with the least error.

    ``budget`` is a template. Its ``total_bytes`` are set to what this link carried in time in earlier rounds
    (``signals.turns``), with the caution that the link's own ups and downs call for: twice the bytes are worth
    ``worth`` more of the rounds late, but never more than ``most_late``. What the template itself says (``ratio``,
    ``total_bytes``) is the most that it takes: beyond, bytes buy nothing. Where all of that is in time, the quickest of
    three ways: dense, ``cheap`` (a codec of fixed ``bits``), the budget; so a link that outruns the codec gets none.
    The first round sends a quarter of what a stated bandwidth carries in half the deadline, or, if none is stated, the
    dense size divided by ``start``. One slow round is forgotten, the first above all, in which a client compiles.
    """

    seconds: float
    budget: Policy = child("ByteBudget(ratio=5)")
    cheap: Codec = child("Uniform(bits=8)")
    worth: float = 0.05
    most_late: float = 0.2
    start: float = 128.0
    small: Codec = child("Raw()")
    below: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"Deadline: seconds is {self.seconds!r}, expected more than 0")
        if not hasattr(self.budget, "total_bytes") or not hasattr(self.budget, "ratio"):
            raise ValueError(f"Deadline: {text(self.budget)} has no total_bytes and ratio; use ByteBudget(ratio=5)")
        if not isinstance(getattr(self.cheap, "bits", None), int):
            raise ValueError(f"Deadline: {text(self.cheap)} has no fixed bits; use Uniform(bits=8)")
        for name, value, most in (("worth", self.worth, math.inf), ("most_late", self.most_late, 1.0)):
            if not 0 <= value < most:
                raise ValueError(f"Deadline: {name} is {value!r}, expected at least 0 and below {most:g}")
        if not 1 <= self.start < math.inf:
            raise ValueError(f"Deadline: start is {self.start!r}, expected a ratio of at least 1")

    def options(self, specs: Mapping[str, Spec], signals: Signals) -> Mapping[str, tuple[Codec, ...]]:
        """Return what the budget wants measured; nothing where it has no say."""
        way, budget = self.way(specs, signals), self.budget
        if not specs or way.name != "budget" or not hasattr(budget, "options"):
            return {}
        return _within(budget, way).options(specs, signals)  # type: ignore[no-any-return]

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        way = self.way(specs, signals)
        if way.name == "budget":
            return _within(self.budget, way).plan(specs, signals)  # type: ignore[no-any-return]
        return plan_by_size(specs, self.cheap if way.name == "cheap" else self.small, self.small, self.below)

    def revise(self, trials: Sequence[Trial], specs: Mapping[str, Spec], signals: Signals) -> Plan | None:
        """Return what the budget makes of its trials; the least of them where nothing fits, as late is not never."""
        way = self.way(specs, signals)
        if way.name != "budget" or not hasattr(self.budget, "revise"):
            return None
        try:
            return _within(self.budget, way).revise(trials, specs, signals)  # type: ignore[no-any-return]
        except ValueError:
            least = min(trials, key=lambda trial: trial.payload_bytes)
            return None if trials[-1].payload_bytes == least.payload_bytes else least.plan

    def keep(self, signals: Signals) -> State:
        """Return what the budget keeps. The deadline needs no more than the turns."""
        way = self.way(signals.trials[-1].specs, signals) if signals.trials else None
        if way is None or way.name != "budget" or not hasattr(self.budget, "keep"):
            return dict(signals.kept)
        return _within(self.budget, way).keep(signals)  # type: ignore[no-any-return]

    def way(self, specs: Mapping[str, Spec], signals: Signals) -> Way:
        """Return how this round's message is to be sent."""
        turns, latency_s = self._believed(signals.turns), _latency_s(signals)
        dense, cheap, budget = self._ways(specs, turns)
        if not turns:
            room = min(self._first_bytes(dense.frame_bytes, signals), budget.frame_bytes)
            return replace(budget, frame_bytes=room)
        full = [way for way in (dense, cheap, budget) if way.frame_bytes <= self._room(way, turns, latency_s)]
        # What nobody measured may take any time: it is tried where nothing else is in time.
        full = [way for way in full if way.known] or full
        if full:
            speed = self._prudent([bytes_per_s(turn, latency_s) for turn in turns])
            return min(full, key=lambda way: way.codec_s + way.frame_bytes / max(speed, 1e-9))
        room = self._room(budget, turns, latency_s)
        return replace(budget, frame_bytes=room, in_time=room > 0)

    def _ways(self, specs: Mapping[str, Spec], turns: Sequence[Turn]) -> tuple[Way, Way, Way]:
        dense = sum(spec.nbytes for spec in specs.values())
        bits: Any = getattr(self.cheap, "bits", 0)
        plan = plan_by_size(specs, self.cheap, self.small, self.below)
        cheap = sum(spec.numel * bits / 8 if plan[name] == self.cheap else spec.nbytes for name, spec in specs.items())
        most = _most_bytes(self.budget, dense)
        spent: dict[str, list[float]] = {"dense": [], "cheap": [], "budget": []}
        for turn in turns:
            spent[_taken(turn, dense, cheap, most)].append(turn.codec_s)
        sizes = {"dense": dense, "cheap": cheap, "budget": most}
        ways = [Way(name, sizes[name], high(spent[name]), bool(spent[name])) for name in sizes]
        return replace(ways[0], known=True), ways[1], ways[2]

    def _room(self, way: Way, turns: Sequence[Turn], latency_s: float) -> float:
        """Return how many bytes may be risked, sent in this way."""
        return self._prudent([in_time_bytes(turn, self.seconds, latency_s, way.codec_s) for turn in turns])

    def _believed(self, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """Return the turns; of a single one, what it says of the link and not all that it says of the client.

        In its first round a client loads and compiles, which it may never do again. As before that round, receiving and
        training are taken for a share of the deadline, if they took no less; a link that was not measured is unknown.
        """
        if len(turns) != 1:
            return turns
        turn = turns[0]
        before_s = min(turn.receive_s + turn.compute_s, _TRAINING_SHARE * self.seconds)
        return (replace(turn, receive_s=0.0, compute_s=before_s),) if bytes_per_s(turn) else ()

    def _prudent(self, samples: Sequence[float]) -> float:
        return prudent(samples, self.worth, self.most_late)

    def _first_bytes(self, dense: float, signals: Signals) -> float:
        if signals.bandwidth_bps is None:
            return dense / self.start
        left_s = max(0.0, self.seconds * (1 - _TRAINING_SHARE) - _latency_s(signals))
        return left_s * _STATED_SHARE * signals.bandwidth_bps / 8


def _latency_s(signals: Signals) -> float:
    return signals.latency_s or 0.0


def _within(budget: Any, way: Way) -> Any:
    return replace(budget, total_bytes=max(1, int(way.frame_bytes)), ratio=None)


def _most_bytes(budget: Any, dense: float) -> float:
    stated: int | None = budget.total_bytes
    ratio: float | None = budget.ratio
    return min(dense, stated) if stated is not None else dense / (ratio or 1.0)


def _taken(turn: Turn, dense: float, cheap: float, most: float) -> str:
    """Return the way that an earlier message went, by its size: a turn does not say."""
    sizes = {"dense": dense, "cheap": cheap, "budget": most}
    if turn.sent_bytes <= most:
        return "budget"
    return min(sizes, key=lambda name: abs(turn.sent_bytes - sizes[name]))
