"""What goals for a whole message share: which codecs to measure, and one scale for all steps until the goal is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thinwire.codec import Codec, Spec
from thinwire.kernels.search import following
from thinwire.policy.ladder import families, rungs, scale_of, scaled
from thinwire.policy.plan import Plan, Signals, Trial, is_large

OCTAVES = (-2.5, -1.75, -1.0, -0.25, 0.5)
SMALL_OCTAVES = -2.0
"""Norms and biases are few and do most of the harm: their steps are a quarter of the others'."""
MOST_TRIALS = 10
_SLACK = 0.02

Options = dict[str, tuple[Codec, ...]]
Sizes = dict[str, tuple[int, float]]


def sizes(specs: Mapping[str, Spec], signals: Signals) -> Sizes:
    """Return elements and energy of the float tensors whose energy is known."""
    floats = {name: spec for name, spec in specs.items() if spec.dtype.is_floating_point}
    return {name: (spec.numel, signals.energies[name]) for name, spec in floats.items() if name in signals.energies}


def options(specs: Mapping[str, Spec], known: Sizes, codec: Codec, small: Codec, below: int, step: float) -> Options:
    """Return the codecs to measure for every tensor, around a common step."""
    found: Options = {}
    for name, spec in specs.items():
        if name not in known:
            found[name] = (small,)
            continue
        large = is_large(spec, below)
        octaves = OCTAVES if large else tuple(octave + SMALL_OCTAVES for octave in OCTAVES)
        templates = families(codec) if large else families(small)
        made = [rungs(template, *known[name], step, octaves) for template in templates]
        found[name] = tuple(option for rung in made for option in rung)
    return found


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
    return {name: scaled(codec, factor) for name, codec in plan.items()}


def best(trials: Sequence[Trial], values: Sequence[float], goal: float, costs: Sequence[float]) -> Trial | None:
    """Return, of the trials whose value is within the goal, the one of the least cost; None where there is none."""
    fitting = [i for i, value in enumerate(values) if value <= goal]
    return trials[min(fitting, key=lambda i: costs[i])] if fitting else None


def _scale(first: Plan, plan: Plan) -> float | None:
    scales = (scale_of(first[name], plan[name]) for name in plan if type(first[name]) is type(plan[name]))
    return next((scale for scale in scales if scale), None)
