"""Which runs may be compared: each with the uncompressed run of its seed, if both finished the same task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thinwire.lab.report.load import Run
from thinwire.lab.report.model import BASELINE

OWN = ("uplink", "downlink", "seed")
"""The settings that make a configuration what it is; all others must equal those of the uncompressed run."""


@dataclass(frozen=True)
class Pairs:
    """The runs of one configuration and, in the same order, the uncompressed ones (none when none compares)."""

    runs: tuple[Run, ...]
    baseline: tuple[Run, ...]
    notes: tuple[str, ...]


def check_same(runs: Sequence[Run]) -> None:
    """Raise ValueError when runs measure different things or one configuration has a seed twice."""
    first, seen = runs[0], dict[tuple[str, int], str]()
    for run in runs:
        for what, own, other in _identity(run, first):
            if own != other:
                raise ValueError(
                    f"{run.file}: {what} is {own!r}, but {first.file} has {other!r}; "
                    "expected one task in one folder: move these runs to a folder of their own."
                )
        twin = seen.setdefault((run.group, run.seed), run.file)
        if twin != run.file:
            raise ValueError(f"{run.file} and {twin} are both {run.group!r} with seed {run.seed}; delete one of them.")


def pair(group: str, runs: Sequence[Run]) -> Pairs:
    """Pair the runs of a group with uncompressed ones; what cannot be compared is left out and said so."""
    own = sorted((run for run in runs if run.group == group), key=lambda run: run.seed)
    baseline = {run.seed: run for run in runs if run.group == BASELINE and not _unfinished(run)}
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
        notes.append("runs with the same seed start from different values of the metric: not the same initial weights")
    return tuple(notes)


def starts(runs: Sequence[Run]) -> Mapping[int, float]:
    """Return the metric of the initial model per seed, empty unless all runs of a seed share it."""
    values = {run.seed: _starts(runs, run.seed) for run in runs}
    same = all(len(value) == 1 for value in values.values())
    return {seed: value.pop() for seed, value in sorted(values.items())} if same else {}


def _starts(runs: Sequence[Run], seed: int) -> set[float]:
    return {round(run.rounds[0].metric, 6) for run in runs if run.seed == seed and run.rounds[0].number == 0}


def _identity(run: Run, first: Run) -> tuple[tuple[str, object, object], ...]:
    return (
        ("config.task", run.config.get("task"), first.config.get("task")),
        ("metric.name", run.metric_name, first.metric_name),
        ("metric.higher_is_better", run.higher_is_better, first.higher_is_better),
    )


def _reason(run: Run, base: Run | None) -> str:
    if base is None:
        return _unfinished(run) or "no finished uncompressed run has this seed"
    keys = sorted((set(run.config) | set(base.config)) - set(OWN))
    other = [f"{key} {run.config.get(key)} (there {base.config.get(key)})" for key in keys if _differs(key, run, base)]
    return _unfinished(run) or (f"unlike uncompressed it has {', '.join(other)}" if other else "")


def _differs(key: str, run: Run, base: Run) -> bool:
    return run.config.get(key) != base.config.get(key)


def _unfinished(run: Run) -> str:
    wanted = run.config.get("rounds")
    return f"it stopped after round {run.last_round} of {wanted}" if wanted != run.last_round else ""


def _missing(seeds: Sequence[int], own: Sequence[int]) -> tuple[str, ...]:
    missing = [str(seed) for seed in seeds if seed not in own]
    text = f"{len(own)} of {len(seeds)} seeds, missing: {', '.join(missing)}; compared on the seeds that it has"
    return (text,) if missing else ()


def _failed(runs: Sequence[Run]) -> tuple[str, ...]:
    count = sum(item.failures for run in runs for item in run.rounds)
    text = f"{count} {'reply' if count == 1 else 'replies'} failed, so some of its bytes were never sent"
    return (text,) if count else ()
