"""A number of bytes, shared out so that the whole message has the least error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from thinwire.codec import Codec, Spec, State
from thinwire.policy import joint
from thinwire.policy.allocate import Allocation, cheapest, within_bytes
from thinwire.policy.ladder import common_step
from thinwire.policy.plan import Curve, Plan, Signals, Trial, is_large
from thinwire.registry import child, codec_class, register

_HEAD_BYTES, _RECORD_BYTES = 56, 8
"""About what a frame takes beside its tensors, and beside the payload of each, until one was made and counted."""

_MOST_TRIALS = 3 * joint.MOST_TRIALS
_USED, _MOST_MORE = 0.9, 4.0
"""A frame that uses less of its budget is one that curves misjudged; and by how much more is tried at once."""


@register
@dataclass(frozen=True)
class ByteBudget:
    """The least distortion of a whole message in at most ``total_bytes``, framing included, or 1/``ratio`` of its size.

    Every tensor's rate-distortion curve is measured on the message itself; all tensors then have the same slope
    (Shoham and Gersho 1988). What was chosen is encoded, its frame counted, and corrected until that is within the
    budget and uses nearly all of it. ``codec`` is what large tensors may take: a template with a knob (``step``,
    ``bits``, ``density``, ``nmse``), or a choice of several such as ``Smallest()``. ``small`` is the same for 1-D
    tensors and those of fewer than ``below`` elements, whose error counts 16-fold: they are few, and do most of the
    harm. All may keep every bit where that is worth its bytes. Curves are measured for every ``every``-th message;
    those between start from what was settled on, scaled to the budget.
    """

    total_bytes: int | None = None
    ratio: float | None = None
    codec: Codec = child("Smallest()")
    small: Codec = child("BitRound()")
    below: int = 1024
    every: int = 10

    def __post_init__(self) -> None:
        if (self.total_bytes is None) == (self.ratio is None):
            raise ValueError("ByteBudget: give one of total_bytes and ratio, such as ByteBudget(ratio=64)")
        if self.total_bytes is not None and not (type(self.total_bytes) is int and self.total_bytes > 0):
            raise ValueError(f"ByteBudget: total_bytes is {self.total_bytes!r}, expected a positive integer")
        if self.ratio is not None and not 1 <= self.ratio < 1e9:
            raise ValueError(f"ByteBudget: ratio is {self.ratio!r}, expected at least 1")

    def options(self, specs: Mapping[str, Spec], signals: Signals) -> joint.Options:
        """Return the codecs to measure: coarse rungs first, then those next to what would be chosen."""
        if signals.curves:
            return joint.refined(signals.curves, self._within(signals.curves, self._added_bytes(specs, signals), specs))
        known, last = self._known(specs, signals)
        if last and last.age < self.every - 1:
            return {}
        payload_bytes = max(self._added_bytes(specs, signals) - _RECORD_BYTES * len(specs), 0)
        around = joint.rungs_around(specs, known, self.below, last, common_step(known, 8 * payload_bytes))
        return joint.options(specs, self._templates(), around, known)

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan: from the curves, or that of the last time, or the templates as they are."""
        known, last = self._known(specs, signals)
        if not signals.curves and last:
            return last.plan(specs, known, self._templates())
        if not signals.curves:
            return {name: self.codec if is_large(spec, self.below) else self.small for name, spec in specs.items()}
        return _codecs(self._within(signals.curves, self._added_bytes(specs, signals), specs))

    def revise(self, trials: Sequence[Trial], specs: Mapping[str, Spec], signals: Signals) -> Plan | None:
        """Return a plan that comes nearer to the budget; None once the newest is the best.

        Raises ValueError that names the fewest bytes, where these are more than the budget.
        """
        # A frame's own bytes hardly change from trial to trial, and tensors' go with their steps.
        head_bytes, total = trials[0].head_bytes, self.bytes_of(specs)
        goal, spent = total - head_bytes, [trial.frame_bytes - head_bytes for trial in trials]
        factor = joint.next_scale(trials, spent, goal, power=-1.0) if goal > 0 else None
        if factor is not None and len(trials) < joint.MOST_TRIALS:
            return joint.rescaled(trials[0].plan, factor)
        fitting = joint.best(trials, spent, goal, [trial.distortion for trial in trials])
        if (other := self._other(trials, specs, signals, fitting, goal)) is not None:
            return other
        if fitting is None:
            least = int(min(trial.frame_bytes for trial in trials))
            raise ValueError(self._too_small(specs, least, signals.reserved_bytes))
        return None if fitting.plan == trials[-1].plan else fitting.plan

    def keep(self, signals: Signals) -> State:
        """Return what was settled on: the next messages start from it."""
        return joint.kept(signals, self.bytes_of, self._templates())

    def bytes_of(self, specs: Mapping[str, Spec]) -> float:
        """Return the bytes that a message of these tensors may take."""
        dense = sum(spec.nbytes for spec in specs.values())
        return self.total_bytes if self.total_bytes is not None else dense / (self.ratio or 1.0)

    def _other(
        self, trials: Sequence[Trial], specs: Mapping[str, Spec], signals: Signals, fitting: Trial | None, goal: float
    ) -> Plan | None:
        """Return what is tried where one scale for all steps led to nothing that fits, or left much unused; or None."""
        tried = [trial.plan for trial in trials]
        if fitting is None or _every_bit(specs) in tried:
            plans = self._fewer(trials, specs, signals, goal)
        else:
            plans = self._more(fitting, specs, signals, goal)
        return next((plan for plan in plans if plan not in tried), None) if len(trials) < _MOST_TRIALS else None

    def _more(self, fitting: Trial, specs: Mapping[str, Spec], signals: Signals, goal: float) -> Iterator[Plan]:
        if signals.curves and fitting.distortion and fitting.payload_bytes < _USED * goal:
            more = min(goal / fitting.payload_bytes, _MOST_MORE)
            yield _codecs(self._within(signals.curves, more * goal, specs))

    def _fewer(
        self, trials: Sequence[Trial], specs: Mapping[str, Spec], signals: Signals, goal: float
    ) -> Iterator[Plan]:
        """Yield ever less; last, the best allocation of all that was really encoded, or the least where none fits."""
        begun = any(trial.plan == _every_bit(specs) for trial in trials)
        if signals.curves and goal > 0 and not begun and len(trials) < 2 * joint.MOST_TRIALS:
            over = prod(min(1.0, goal / max(trial.payload_bytes, 1.0)) * 0.99 for trial in trials)
            yield _codecs(self._within(signals.curves, goal * over, specs))
        yield _every_bit(specs)
        if signals.curves:
            yield _codecs(cheapest(signals.curves))
        yield joint.coarsest(specs, self._templates(), joint.sizes(specs, signals))
        exact = {name: tuple(replace(t.points[name], codec=t.plan[name]) for t in trials) for name in specs}
        yield _codecs(self._within(exact, goal, specs))

    def _too_small(self, specs: Mapping[str, Spec], least: int, reserved_bytes: int) -> str:
        exact = f", {reserved_bytes:,} of them what must be exact" if reserved_bytes else ""
        return (
            f"a budget of {int(self.bytes_of(specs)):,} bytes is too small: {least:,} is the fewest that these "
            f"{len(specs)} tensors take as {type(self).__name__} may code them{exact}; "
            f"give total_bytes={least} or more"
        )

    def _known(self, specs: Mapping[str, Spec], signals: Signals) -> tuple[joint.Sizes, joint.Last | None]:
        known = joint.sizes(specs, signals)
        return known, joint.last(signals, known, self.bytes_of(specs))

    def _templates(self) -> joint.Templates:
        return joint.Templates.of(self.codec, self.small, self.below, _lossless())

    def _within(self, curves: Mapping[str, Curve], added_bytes: float, specs: Mapping[str, Spec]) -> Allocation:
        return within_bytes(curves, added_bytes, joint.weights(specs, self.below))

    def _added_bytes(self, specs: Mapping[str, Spec], signals: Signals) -> float:
        """Return about what tensors may add to a frame, beside those that travel losslessly."""
        return max(self.bytes_of(specs) - _HEAD_BYTES - signals.reserved_bytes, 0)


def _every_bit(specs: Mapping[str, Spec]) -> Plan:
    return dict.fromkeys(specs, _lossless())


def _lossless() -> Codec:
    return codec_class("planes")()


def _codecs(found: Allocation) -> Plan:
    return {name: point.codec for name, point in found.items()}
