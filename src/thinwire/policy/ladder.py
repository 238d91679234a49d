"""Which codecs are worth measuring for a tensor: a template with its knob at some rungs around a guess."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from thinwire.codec import Codec
from thinwire.policy.resolution import LEAST_NMSE, MOST_NMSE, coarser, resolution_bits, smooth_field

_NOTHING = 4.0
_CLOSE, _SAME = 0.3, 1e-6
"""Octaves: rungs nearer than this need none between them; nearer than that they are one."""
_DENSITIES = tuple(0.3 * 2.0**-i for i in range(10))


def families(codec: Codec) -> tuple[Codec, ...]:
    """Return the options of a choice such as ``Smallest``, or the codec alone."""
    return getattr(codec, "options", (codec,))


def knob(codec: Codec) -> str:
    """Return the field by which bytes are traded for error: what the codec says, or a density or bits if it has any."""
    return codec.knob or next((name for name in ("density", "bits") if hasattr(codec, name)), "")


def rungs(template: Codec, numel: int, energy: float, step: float, octaves: tuple[float, ...]) -> tuple[Codec, ...]:
    """Return the template at rungs around a quantizer's step that suits the goal, and with nothing sent.

    ``octaves`` are the rungs' powers of two. A codec without a step is asked for the error that such steps make.
    """
    name = knob(template)
    if not name or energy == 0.0:
        return (template,)
    wanted: dict[str, list[Any]] = {
        "step": [step * 2.0**octave for octave in octaves] + [_NOTHING * math.sqrt(energy)],
        "bits": list(range(9)),
        "density": list(_DENSITIES),
        "nmse": [_error(numel, energy, step * 2.0**octave) for octave in octaves],
    }
    made = (_with(template, name, value) for value in wanted[name])
    return tuple(dict.fromkeys(codec for codec in made if codec is not None))


def coarsest_rung(template: Codec, numel: int, energy: float) -> Codec:
    """Return the template as coarse as ``rungs`` ever makes it."""
    made = rungs(template, numel, energy, math.sqrt(energy / max(numel, 1)), (6.0,))
    return made[0] if knob(template) == "bits" else made[-1] if made else template


def between(codec: Codec, others: Iterable[Codec]) -> tuple[Codec, ...]:
    """Return codecs half-way (by ratio) to the next finer and the next coarser of its kind, if those are far."""
    field = smooth_field(codec)
    if field is None:
        return ()
    bits = resolution_bits(codec, field)
    alike = (other for other in others if type(other) is type(codec) and smooth_field(other))
    known = sorted({resolution_bits(other, field) for other in alike})
    next_coarser = [value for value in known if value < bits - _SAME][-1:]
    next_finer = [value for value in known if value > bits + _SAME][:1]
    gaps = [bits - value for value in next_finer + next_coarser]
    return tuple(coarser(codec, 2.0 ** (gap / 2)) for gap in gaps if abs(gap) > _CLOSE)


def implied_step(codec: Codec, numel: int, energy: float) -> float | None:
    """Return the step around which ``rungs`` would have this codec in its middle; None where it says nothing of it."""
    step, nmse = getattr(codec, "step", None), getattr(codec, "nmse", None)
    if knob(codec) == "step" and step is not None:
        return float(step) if step < math.sqrt(energy) else None
    if knob(codec) == "nmse" and nmse is not None and LEAST_NMSE < nmse < MOST_NMSE:
        return math.sqrt(12 * nmse / (1 - nmse) * energy / max(numel, 1))
    return None


def turn(codec: Codec) -> float:
    """Return a codec's bits or density, if that is what it is searched by; NaN for others."""
    name = knob(codec)
    return float(getattr(codec, name)) if name in ("bits", "density") else math.nan


def turned(template: Codec, value: float) -> Codec:
    """Return the template with bits or a density as ``turn`` told it; as it is where that is NaN or not for it."""
    name = knob(template)
    if name not in ("bits", "density") or math.isnan(value):
        return template
    return _with(template, name, int(value) if name == "bits" else value) or template


def common_step(sizes: Mapping[str, tuple[int, float]], bits: float) -> float:
    """Return about the step at which tensors (elements, energy) take so many bits together; all Laplace, the worst."""
    total = sum(energy for _, energy in sizes.values()) or 1.0
    count = sum(numel for numel, _ in sizes.values()) or 1
    low, high = math.log(math.sqrt(total / count)) - 20, math.log(math.sqrt(total)) + 3
    for _ in range(40):
        middle = (low + high) / 2
        spent = sum(
            numel * _bits(math.sqrt(energy / numel) / math.exp(middle)) for numel, energy in sizes.values() if numel
        )
        low, high = (middle, high) if spent > bits else (low, middle)
    return math.exp(high)


def _bits(deviation: float) -> float:
    """Return about the entropy of a Laplace variable rounded to whole numbers, of this standard deviation."""
    scale = max(deviation / math.sqrt(2), 1e-9)
    p = math.exp(-0.6 / scale)
    theta = math.exp(-1 / scale)
    return _binary(p) + p * (1 + _binary(theta) / max(1 - theta, 1e-12))


def _binary(p: float) -> float:
    return -sum(q * math.log2(q) for q in (p, 1 - p) if q > 0)


def _error(numel: int, energy: float, step: float) -> float:
    """Return about the NMSE of a tensor quantized with a step: never more than all of it."""
    fine = numel * step * step / 12
    return min(max(fine / (fine + energy), LEAST_NMSE), MOST_NMSE)


def _with(template: Codec, name: str, value: object) -> Codec | None:
    others = {other: None for other in ("nmse", "step", "absolute", "relative", "bits", "rank", "ratio")
              if other != name and getattr(template, other, None) is not None}  # fmt: skip
    try:
        return replace(template, **{name: value}, **others)  # type: ignore[type-var]
    except ValueError:
        return None
