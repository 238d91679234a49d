"""What keeps a verdict from saying more than the runs do."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from thinwire.lab.report import units
from thinwire.lab.report.model import Metric, Spread, Verdict

LEAST_GAIN = 0.025
"""What the baseline's metric must gain over its start for a comparison to mean anything: 2.5 points of accuracy."""
LEAST_FALL = 0.05
"""By which share the baseline's loss must fall, where the metric of its start is not known."""
LEAST_RATIO = 1.005
"""Below it, nothing was saved."""
DENSE = (None, "", "none", "stock Flower")
"""What asks for no compression."""


class Sided(Protocol):
    """One side of a comparison."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds."""
        ...

    @property
    def difference(self) -> Spread | None:
        """How far the metric is from the baseline's."""
        ...


def gained(metric: Metric, starts: Sequence[float], ends: Sequence[float]) -> str:
    """Return why the baseline says nothing, from its metric before training and at its end; empty where it does."""
    if not starts or metric.gain(fmean(ends) - fmean(starts)) >= LEAST_GAIN:
        return ""
    before, after = (units.metric(metric, fmean(values)) for values in (starts, ends))
    return f"{metric.label} {after} at the end, {before} before training"


def fell(starts: Sequence[float], ends: Sequence[float]) -> str:
    """Return the same from the loss of its first step and of its last ones."""
    if not starts or fmean(ends) < (1 - LEAST_FALL) * fmean(starts):
        return ""
    return f"training loss {fmean(ends):.3g} at the end, {fmean(starts):.3g} at the first step"


def untrained(baseline: str, why: str) -> Verdict:
    """Return the verdict where the baseline has not learnt: what keeps its metric keeps nothing."""
    text = f"No verdict: {baseline} itself has hardly learnt ({why}), and what keeps that keeps nothing."
    return Verdict("", "", text, "Train for longer, or with another learning rate, and compare again.")


def ends(row: Sided, metric: Metric, tolerance: float) -> str:
    """Return where a row that keeps the metric ends, as its seeds really say it: within a distance, or better."""
    gap = row.difference
    assert gap is not None, "the row was compared"
    gain = metric.gain(gap.mean)
    if gain > tolerance:
        better = "above" if metric.higher_is_better else "below"
        words = f"ends {units.points(metric, round(gain, 3))} {better} its {metric.label}"
    else:
        words = f"ends within {units.points(metric, tolerance)} of its {metric.label}"
    return words + spoken(row, metric, tolerance)


def spoken(row: Sided, metric: Metric, tolerance: float) -> str:
    """Return what must be said with it: one seed only, or seeds of which some lose more than the rule allows."""
    gap = row.difference
    if gap is None:
        return ""
    if gap.sd is None:
        return " on one seed"
    worst = gap.low if metric.higher_is_better else gap.high
    return " on average, not on every seed" if metric.gain(worst) < -tolerance - 1e-9 else ""


def nothing_compressed(asked: object, errors: Sequence[float | None], way: str) -> tuple[str, ...]:
    """Return the warning where a direction was to be compressed and no round of it was: none has an error."""
    if asked in DENSE or not errors or any(error is not None for error in errors):
        return ()
    return (f"nothing was compressed {way}, though {asked} was asked for",)


def nothing_saved(ratio: float | None, asked: object) -> tuple[str, ...]:
    """Return the warning where a run that was to be compressed sent as much as the dense one."""
    saved = ratio is None or ratio > LEAST_RATIO or asked in DENSE
    return () if saved else (f"{asked} saved nothing: {units.ratio(ratio)} fewer bytes than dense arrays take",)
