"""A number of bytes, shared out so that the whole message has the least error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from thinwire.codec import Codec, Spec
from thinwire.policy import joint
from thinwire.policy.allocate import within_bytes
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
    than ``below`` elements, whose error counts 16-fold: they are few, and do most of the harm.
    """

    total_bytes: int | None = None
    ratio: float | None = None
    codec: Codec = child("Smallest(options=(Rdoq(), LowRank()))")
    small: Codec = child("Step()")
    below: int = 1024

    def __post_init__(self) -> None:
        if (self.total_bytes is None) == (self.ratio is None):
            raise ValueError("ByteBudget: give one of total_bytes and ratio, such as ByteBudget(ratio=64)")
        if self.total_bytes is not None and not (type(self.total_bytes) is int and self.total_bytes > 0):
            raise ValueError(f"ByteBudget: total_bytes is {self.total_bytes!r}, expected a positive integer")
        if self.ratio is not None and not 1 <= self.ratio < 1e9:
            raise ValueError(f"ByteBudget: ratio is {self.ratio!r}, expected at least 1")

    def options(self, specs: Mapping[str, Spec], signals: Signals) -> joint.Options:
        """Return the codecs whose curves the plan needs."""
        known = joint.sizes(specs, signals)
        step = common_step(known, 8 * self._payload_bytes(specs))
        return joint.options(specs, known, self.codec, self.small, self.below, step)

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan: from the curves where they are known, else the templates as they are."""
        if not signals.curves:
            return {name: self.codec if is_large(spec, self.below) else self.small for name, spec in specs.items()}
        return self._within(self._payload_bytes(specs), specs, signals)

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
        return self._within(goal * prod(min(1.0, goal / total) * 0.99 for total in spent), specs, signals)

    def _within(self, payload_bytes: float, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        found = within_bytes(signals.curves, payload_bytes, joint.weights(specs, self.below))
        return {name: found[name].codec for name in specs}

    def _payload_bytes(self, specs: Mapping[str, Spec]) -> float:
        dense = sum(spec.nbytes for spec in specs.values())
        total = self.total_bytes if self.total_bytes is not None else dense / (self.ratio or 1.0)
        return max(total - FRAME_BYTES - TENSOR_BYTES * len(specs), 0)
