"""What goals for a whole message share: which codecs to measure, and one scale for all steps until the goal is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from thinwire.codec import Codec, Spec, State
from thinwire.kernels.search import following
from thinwire.policy.allocate import Allocation, hull
from thinwire.policy.ladder import between, coarsest_rung, families, implied_step, knob, rungs, turn, turned
from thinwire.policy.plan import Curve, Plan, Signals, Trial, is_large
from thinwire.policy.resolution import coarser, coarser_by

WIDE, NARROW = (-7.0, -4.5, -2.0, 0.5), (-1.0, 0.0, 1.0)
"""Rungs, in octaves of the step: around a guess, and around what was right the last time."""
SMALL_OCTAVES = -2.0
"""Norms and biases are few and do most of the harm: their steps are a quarter of the others'."""
MOST_TRIALS = 10
_SLACK, _ALIKE = 0.005, 1.5

Options = dict[str, tuple[Codec, ...]]
Sizes = dict[str, tuple[int, float]]


def sizes(specs: Mapping[str, Spec], signals: Signals) -> Sizes:
    """Return elements and energy of the float tensors whose energy is known."""
    floats = {name: spec for name, spec in specs.items() if spec.dtype.is_floating_point}
    return {name: (spec.numel, signals.energies[name]) for name, spec in floats.items() if name in signals.energies}


@dataclass(frozen=True)
class Rungs:
    """A step, and at which octaves of it to measure."""

    step: float
    octaves: tuple[float, ...]


@dataclass(frozen=True)
class Templates:
    """What tensors may take: codecs for those of two dimensions or more and ``below`` elements, and for the others."""

    large: tuple[Codec, ...]
    small: tuple[Codec, ...]
    below: int

    @classmethod
    def of(cls, codec: Codec, small: Codec, below: int, *also: Codec) -> Templates:
        """Return the options of two templates; ``also`` are some for all."""
        return cls((*families(codec), *also), (*families(small), *also), below)

    def __call__(self, spec: Spec) -> tuple[Codec, ...]:
        """Return the templates for a tensor."""
        return self.large if is_large(spec, self.below) else self.small


def options(specs: Mapping[str, Spec], templates: Templates, around: Mapping[str, Rungs], known: Sizes) -> Options:
    """Return the codecs to measure for every tensor."""
    found: Options = {}
    for name, spec in specs.items():
        made = [rungs(template, *known[name], around[name].step, around[name].octaves) for template in templates(spec)
                if name in known]  # fmt: skip
        found[name] = tuple(dict.fromkeys(option for rung in made for option in rung)) or templates.small[:1]
    return found


def coarsest(specs: Mapping[str, Spec], templates: Templates, known: Sizes) -> Plan:
    """Return the plan of the coarsest rung of every tensor's first template: of one with a step, to send nothing."""
    plan: Plan = {}
    for name, spec in specs.items():
        template = templates(spec)[0]
        plan[name] = coarsest_rung(template, *known[name]) if name in known else template
    return plan


def refined(curves: Mapping[str, Curve], found: Allocation) -> Options:
    """Return what else to measure: rungs next to those of an allocation, and to those of the other kind beside them."""
    wanted: Options = {}
    for name, point in found.items():
        points, measured = hull(curves[name]), [other.codec for other in curves[name]]
        at = points.index(point) if point in points else 0
        beside = [
            other.codec for other in points[max(at - 1, 0) : at + 2] if type(other.codec) is not type(point.codec)
        ]
        new = dict.fromkeys(codec for near in (point.codec, *beside) for codec in between(near, measured))
        if new:
            wanted[name] = tuple(new)
    return wanted


def rungs_around(
    specs: Mapping[str, Spec], known: Sizes, below: int, last: Last | None, guess: float
) -> dict[str, Rungs]:
    """Return where to measure each tensor: narrowly around its last step where there is one, else around a guess."""
    found = {}
    for i, name in enumerate(known):
        first = guess if is_large(specs[name], below) else guess * 2.0**SMALL_OCTAVES
        found[name] = Rungs(last.steps[i], NARROW) if last and last.steps[i] > 0 else Rungs(first, WIDE)
    return found


@dataclass(frozen=True)
class Last:
    """What was settled on the last time: of every float tensor the step and the kind of codec; and how long ago.

    ``knobs``: of codecs without a step, the number of bits or the density; NaN for others.
    """

    steps: list[float]
    kinds: list[int]
    knobs: list[float]
    age: int

    def plan(self, specs: Mapping[str, Spec], known: Sizes, templates: Templates) -> Plan:
        """Return the same choice for new tensors."""
        plan: Plan = dict.fromkeys(specs, templates.small[0])
        settled = zip(known.items(), self.steps, self.kinds, self.knobs, strict=True)
        for (name, size), step, kind, value in settled:
            template = templates(specs[name])[kind]
            # A step of 0 is one of nothing sent: the last rung, of a codec that has such a one.
            made = rungs(template, *size, step, (0.0,) if step > 0 else ()) or (template,)
            plan[name] = made[0] if step > 0 or knob(template) == "step" else turned(template, value)
        return plan


def last(signals: Signals, known: Sizes, goal: float) -> Last | None:
    """Return what was settled on the last time, if that was for about the same goal and as many tensors."""
    if len(signals.kept.get("steps", ())) != len(known) or not known:
        return None
    if not 1 / _ALIKE < float(signals.kept["goal"]) / max(goal, 1e-300) < _ALIKE:
        return None
    steps, kinds = signals.kept["steps"].tolist(), signals.kept["kinds"].tolist()
    # States of earlier versions lack the knobs.
    knobs = signals.kept["knobs"].tolist() if "knobs" in signals.kept else [math.nan] * len(steps)
    return Last(steps, kinds, knobs, int(signals.kept["age"]))


def kept(signals: Signals, goal: Callable[[Mapping[str, Spec]], float], templates: Templates) -> State:
    """Return what ``last`` wants to find the next time."""
    if not signals.trials:
        return signals.kept
    plan, specs = signals.trials[-1].plan, signals.trials[-1].specs
    known = sizes(specs, signals)
    steps = [implied_step(plan[name], *size) or 0.0 for name, size in known.items()]
    kinds = [_kind(plan[name], templates(specs[name])) for name in known]
    age = 0 if signals.curves else int(signals.kept.get("age", torch.tensor(0))) + 1
    return {
        "steps": torch.tensor(steps, dtype=torch.float64),
        "kinds": torch.tensor(kinds, dtype=torch.int64),
        "knobs": torch.tensor([turn(plan[name]) for name in known], dtype=torch.float64),
        "goal": torch.tensor(goal(specs), dtype=torch.float64),
        "age": torch.tensor(age),
    }


def _kind(codec: Codec, templates: tuple[Codec, ...]) -> int:
    return next((i for i, template in enumerate(templates) if type(template) is type(codec)), 0)


def weights(specs: Mapping[str, Spec], below: int) -> dict[str, float]:
    """Return how much an error counts in each tensor: as the square of its finer step."""
    return {name: 1.0 if is_large(spec, below) else 4.0**-SMALL_OCTAVES for name, spec in specs.items()}


def next_scale(trials: Sequence[Trial], values: Sequence[float], goal: float, power: float) -> float | None:
    """Return by which factor to scale the steps of the first plan, so that a value comes to within its goal.

    The value rises with the scale to ``power`` (1, or -1 for bytes). None where it is close enough, or no step is left
    to scale. Values are those of the trials.
    """
    scales = [_scale(trials[0].plan, trial.plan) for trial in trials]
    if None in scales:
        return None
    x = following([(scale**power, value) for scale, value in zip(scales, values, strict=True) if scale], goal, _SLACK)
    return None if x is None else float(x ** (1 / power))


def rescaled(plan: Plan, factor: float) -> Plan:
    """Return a plan with all steps times a factor."""
    return {name: coarser(codec, factor) for name, codec in plan.items()}


def best(trials: Sequence[Trial], values: Sequence[float], goal: float, costs: Sequence[float]) -> Trial | None:
    """Return, of the trials whose value is within the goal, the one of the least cost; None where there is none."""
    fitting = [i for i, value in enumerate(values) if value <= goal]
    return trials[min(fitting, key=lambda i: costs[i])] if fitting else None


def _scale(first: Plan, plan: Plan) -> float | None:
    scales = (coarser_by(first[name], plan[name]) for name in plan if type(first[name]) is type(plan[name]))
    return next((scale for scale in scales if scale), None)
