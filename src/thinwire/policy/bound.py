"""A threshold on the error: tensor by tensor, or of the whole message."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from thinwire.codec import Codec, Spec, State
from thinwire.policy import joint
from thinwire.policy.allocate import Allocation, within_distortion
from thinwire.policy.plan import Plan, Signals, Trial, plan_by_size
from thinwire.registry import child, register, text


@register
@dataclass(frozen=True)
class ErrorBound:
    """The fewest bytes whose error stays within a threshold; verified on what the peer decodes.

    One of ``nmse`` (``sum((x-y)**2) / sum(x**2)``; 0.01 if none is given), ``absolute`` (largest error of any element)
    and ``relative`` (the same in units of the RMS). Each tensor keeps it by itself; with ``whole``, ``nmse`` is the
    error of the whole message and ``relative`` in units of its RMS, so that bytes go where they help most.

    With ``whole``, what tensors cost is measured for every ``every``-th message; those between start from its choice.
    ``codec`` is a template with a field of that name: ``Step()`` has all three; ``Rdoq()``, ``Uniform()``,
    ``LowRank()`` and ``Smallest()`` of several have ``nmse``.
    """

    nmse: float | None = None
    codec: Codec = child("Step()")
    small: Codec = child("Raw()")
    below: int = 1024
    absolute: float | None = None
    relative: float | None = None
    whole: bool = False
    every: int = 10

    def __post_init__(self) -> None:
        given = [name for name in _GOALS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"ErrorBound: give one of nmse, absolute and relative, not {' and '.join(given)}")
        if not given:
            object.__setattr__(self, "nmse", 0.01)
        _bounded(self.codec, *self._goal())

    def options(self, specs: Mapping[str, Spec], signals: Signals) -> joint.Options | None:
        """Return the codecs to measure; None where every tensor is bounded by itself."""
        if not self._joint():
            return None
        if signals.curves:
            return joint.refined(signals.curves, self._within(specs, signals))
        known, last = self._known(specs, signals)
        if last and last.age < self.every - 1:
            return {}
        around = joint.rungs_around(specs, known, self.below, last, self._step(known))
        return joint.options(specs, self._templates(), around, known)

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan. Where every tensor is bounded by itself, it follows from the specs alone."""
        if not self.whole:
            return plan_by_size(specs, _bounded(self.codec, *self._goal()), self.small, self.below)
        if self._joint() and signals.curves:
            return {name: point.codec for name, point in self._within(specs, signals).items()}
        known, last = self._known(specs, signals)
        if self._joint() and last:
            return last.plan(specs, known, self._templates())
        return plan_by_size(specs, _bounded(self.codec, *self._for_each(specs, signals)), self.small, self.below)

    def revise(self, trials: Sequence[Trial], specs: Mapping[str, Spec], signals: Signals) -> Plan | None:
        """Return a plan whose error comes nearer to the threshold; None once the newest is the best."""
        if not self._joint():
            return None
        goal = (self.nmse or 0.0) * sum(signals.energies.values())
        errors = [trial.distortion for trial in trials]
        factor = joint.next_scale(trials, errors, goal, power=1.0)
        if factor is not None and len(trials) < joint.MOST_TRIALS:
            return joint.rescaled(trials[0].plan, factor)
        fitting = joint.best(trials, errors, goal, [trial.payload_bytes for trial in trials])
        if fitting is not None:
            return None if fitting.plan == trials[-1].plan else fitting.plan
        if len(trials) > joint.MOST_TRIALS:
            return None
        # Where no common step would do, every tensor within the bound is the whole within it.
        return plan_by_size(specs, _bounded(self.codec, "nmse", self.nmse), self.small, self.below)

    def keep(self, signals: Signals) -> State:
        """Return what was settled on: the next messages start from it."""
        if not self._joint():
            return {}
        return joint.kept(signals, lambda _: self.nmse or 0.0, self._templates())

    def _templates(self) -> joint.Templates:
        return joint.Templates.of(self.codec, self.small, self.below)

    def _known(self, specs: Mapping[str, Spec], signals: Signals) -> tuple[joint.Sizes, joint.Last | None]:
        known = joint.sizes(specs, signals)
        return known, joint.last(signals, known, self.nmse or 0.0)

    def _within(self, specs: Mapping[str, Spec], signals: Signals) -> Allocation:
        most = (self.nmse or 0.0) * sum(signals.energies.values())
        return within_distortion(signals.curves, most, joint.weights(specs, self.below))

    def _joint(self) -> bool:
        return self.whole and self.nmse is not None

    def _goal(self) -> tuple[str, float]:
        return next((name, value) for name in _GOALS if (value := getattr(self, name)) is not None)

    def _for_each(self, specs: Mapping[str, Spec], signals: Signals) -> tuple[str, float]:
        """Return the bound of each tensor; units of the whole message's RMS are absolute ones."""
        name, value = self._goal()
        energy = sum(signals.energies.values())
        if not (name == "relative" and energy):
            return name, value
        count = sum(numel for numel, _ in joint.sizes(specs, signals).values())
        return "absolute", value * math.sqrt(energy / count)

    def _step(self, known: joint.Sizes) -> float:
        """Return the step whose rounding makes the error, were no tensor smaller than it."""
        energy, count = sum(energy for _, energy in known.values()), sum(numel for numel, _ in known.values())
        return math.sqrt(12 * (self.nmse or 0.0) * energy / max(count, 1)) or 1.0


def _bounded(codec: Any, name: str, value: float | None) -> Codec:
    """Return the template with its error bound set. Raises ValueError where the codec has none."""
    if not hasattr(codec, name):
        raise ValueError(
            f"ErrorBound: {text(codec)} has no error bound {name}; use Step(), or with nmse Rdoq() or LowRank()"
        )
    unset = {other: None for other in _OTHER_GOALS if other != name and getattr(codec, other, None) is not None}
    return replace(codec, **{name: value}, **unset)  # type: ignore[no-any-return]


_GOALS = ("nmse", "absolute", "relative")
_OTHER_GOALS = ("nmse", "bits", "rank", "ratio", "absolute", "relative", "step")
