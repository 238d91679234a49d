"""A number of bytes, shared out so that the whole message has the least error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from thinwire.codec import Codec, Spec, State
from thinwire.policy import joint
from thinwire.policy.allocate import Allocation, within_bytes
from thinwire.policy.ladder import common_step
from thinwire.policy.plan import Plan, Signals, Trial, is_large
from thinwire.registry import child, register

FRAME_BYTES, TENSOR_BYTES = 64, 16
"""At most what a frame adds to its payload, and to that for every tensor: the law of the wire format."""


@register
@dataclass(frozen=True)
class ByteBudget:
    """The least distortion of a whole message in at most ``total_bytes``, framing included, or 1/``ratio`` of its size.

    Every tensor's rate-distortion curve is measured on the message itself; all tensors then have the same slope
    (Shoham and Gersho 1988). What was chosen is encoded, counted and corrected until it is within the budget and uses
    nearly all of it. ``codec`` is what large tensors may take: a template with a knob (``step``, ``bits``, ``density``,
    ``nmse``), or a choice of several such as ``Smallest()``. ``small`` is the same for 1-D tensors and those of fewer
    than ``below`` elements, whose error counts 16-fold: they are few, and do most of the harm. Curves are measured
    for every ``every``-th message; those between start from what was settled on, scaled to the budget.
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
            return joint.refined(signals.curves, self._within(self._payload_bytes(specs), specs, signals))
        known, last, goal = self._known(specs, signals)
        if last and last.age < self.every - 1:
            return {}
        around = joint.rungs_around(specs, known, self.below, last, common_step(known, 8 * goal))
        return joint.options(specs, self.codec, self.small, self.below, around, known)

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan: from the curves, or that of the last time, or the templates as they are."""
        known, last, _ = self._known(specs, signals)
        if not signals.curves and last:
            return last.plan(specs, known, self.codec, self.small, self.below)
        if not signals.curves:
            return {name: self.codec if is_large(spec, self.below) else self.small for name, spec in specs.items()}
        return _codecs(self._within(self._payload_bytes(specs), specs, signals))

    def revise(self, trials: Sequence[Trial], specs: Mapping[str, Spec], signals: Signals) -> Plan | None:
        """Return a plan that comes nearer to the budget; None once the newest is the best. Raises ValueError."""
        goal = self._payload_bytes(specs)
        spent = [trial.payload_bytes for trial in trials]
        fitting = joint.best(trials, spent, goal, [trial.distortion for trial in trials])
        factor = joint.next_scale(trials, spent, goal, power=-1.0)
        if factor is not None and len(trials) < joint.MOST_TRIALS:
            return joint.rescaled(trials[0].plan, factor)
        if fitting is not None:
            return None if fitting.plan == trials[-1].plan else fitting.plan
        if len(trials) >= 2 * joint.MOST_TRIALS:
            raise ValueError(f"{self}: {goal:.0f} bytes are left for payload, the least found is {min(spent):.0f}")
        if not signals.curves:
            return joint.rescaled(trials[-1].plan, 2.0)
        return _codecs(self._within(goal * prod(min(1.0, goal / total) * 0.99 for total in spent), specs, signals))

    def keep(self, signals: Signals) -> State:
        """Return what was settled on: the next messages start from it."""
        return joint.kept(signals, self._payload_bytes, self.codec, self.small, self.below)

    def _known(self, specs: Mapping[str, Spec], signals: Signals) -> tuple[joint.Sizes, joint.Last | None, float]:
        known, goal = joint.sizes(specs, signals), self._payload_bytes(specs)
        return known, joint.last(signals, known, goal), goal

    def _within(self, payload_bytes: float, specs: Mapping[str, Spec], signals: Signals) -> Allocation:
        return within_bytes(signals.curves, payload_bytes, joint.weights(specs, self.below))

    def _payload_bytes(self, specs: Mapping[str, Spec]) -> float:
        dense = sum(spec.nbytes for spec in specs.values())
        total = self.total_bytes if self.total_bytes is not None else dense / (self.ratio or 1.0)
        return max(total - FRAME_BYTES - TENSOR_BYTES * len(specs), 0)


def _codecs(found: Allocation) -> Plan:
    return {name: point.codec for name, point in found.items()}
