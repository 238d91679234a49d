"""Which runs may be compared: each with the baseline's run of its seed, if both finished the same task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from thinwire.lab.report.kinds import Run

R = TypeVar("R", bound=Run)


@dataclass(frozen=True)
class Pairs(Generic[R]):
    """The runs of one configuration and, in the same order, the baseline's (none when none compares)."""

    runs: tuple[R, ...]
    baseline: tuple[R, ...]
    notes: tuple[str, ...]


def check_same(runs: Sequence[Run]) -> None:
    """Raise ValueError when runs measure different things or one configuration has a seed twice."""
    first, seen = runs[0], dict[tuple[str, int], str]()
    for run in runs:
        for (what, own), (_, other) in zip(run.identity, first.identity, strict=True):
            if own != other:
                raise ValueError(
                    f"{run.file}: {what} is {own!r}, but {first.file} has {other!r}; "
                    "expected one task in one folder: move these runs to a folder of their own."
                )
        twin = seen.setdefault((run.group, run.seed), run.file)
        if twin != run.file:
            raise ValueError(f"{run.file} and {twin} are both {run.group!r} with seed {run.seed}; delete one of them.")


def pair(group: str, runs: Sequence[R]) -> Pairs[R]:
    """Pair the runs of a group with the baseline's; what cannot be compared is left out and said so."""
    own = sorted((run for run in runs if run.group == group), key=lambda run: run.seed)
    baseline = {run.seed: run for run in runs if run.group == run.baseline and not run.unfinished}
    reasons = {run.seed: _reason(run, baseline.get(run.seed)) for run in own}
    good = tuple(run for run in own if not reasons[run.seed])
    seeds = sorted({run.seed for run in runs})
    notes = tuple(f"seed {seed} is not compared: {why}" for seed, why in reasons.items() if why) if baseline else ()
    missing = _missing(seeds, [run.seed for run in own])
    return Pairs(good or tuple(own), tuple(baseline[run.seed] for run in good), notes + missing + _failed(own))


def remarks(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return what a reader should know of all runs together: one seed only, different starting points."""
    seeds = {run.seed for run in runs}
    notes = ["one seed only: how much the figures vary is not known"] if len(seeds) == 1 else []
    if any(len(_starts(runs, seed)) > 1 for seed in seeds):
        notes.append("runs with the same seed start from different values: not the same initial weights")
    return tuple(notes)


def starts(runs: Sequence[Run]) -> Mapping[int, float]:
    """Return the metric of the initial model per seed, empty unless all runs of a seed share it."""
    values = {run.seed: _starts(runs, run.seed) for run in runs}
    same = all(len(value) == 1 for value in values.values())
    return {seed: value.pop() for seed, value in sorted(values.items())} if same else {}


def _starts(runs: Sequence[Run], seed: int) -> set[float]:
    return {round(run.start, 6) for run in runs if run.seed == seed and run.start is not None}


def _reason(run: Run, base: Run | None) -> str:
    if base is None:
        return run.unfinished or f"no finished run of {run.baseline} has this seed"
    keys = sorted((set(run.config) | set(base.config)) - set(run.own))
    other = [f"{key} {run.config.get(key)} (there {base.config.get(key)})" for key in keys if _differs(key, run, base)]
    return run.unfinished or (f"unlike {run.baseline} it has {', '.join(other)}" if other else "")


def _differs(key: str, run: Run, base: Run) -> bool:
    return run.config.get(key) != base.config.get(key)


def _missing(seeds: Sequence[int], own: Sequence[int]) -> tuple[str, ...]:
    missing = [str(seed) for seed in seeds if seed not in own]
    text = f"{len(own)} of {len(seeds)} seeds, missing: {', '.join(missing)}; compared on the seeds that it has"
    return (text,) if missing else ()


def _failed(runs: Sequence[Run]) -> tuple[str, ...]:
    count = sum(run.failed for run in runs)
    text = f"{count} {'reply' if count == 1 else 'replies'} failed, so some of its bytes were never sent"
    return (text,) if count else ()
