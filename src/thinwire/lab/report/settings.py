"""What all runs share and what sets them apart, read from their configs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from thinwire.lab.report import units
from thinwire.lab.report.kinds import Run
from thinwire.lab.report.model import Settings
from thinwire.lab.report.pairs import starts


def settings_of(runs: Sequence[Run], groups: Sequence[str]) -> Settings:
    """Split the settings of all runs into shared and differing ones, the latter one row per group."""
    configs, own = [run.config for run in runs], runs[0].own
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if key not in own]
    differing = [key for key in keys if len(_values(configs, key)) > 1]
    shared = [(_words(key), _one(configs, key)) for key in keys if key not in differing]
    names = [*runs[0].shown, *differing]
    rows = [_row(group, [run for run in runs if run.group == group], names) for group in groups]
    return Settings(
        shared=tuple(shared) + _common(runs),
        differing_names=("configuration", "in words", *map(_words, names)),
        differing=tuple(rows),
        environment=_environment(runs),
    )


def _common(runs: Sequence[Run]) -> tuple[tuple[str, str], ...]:
    begun = {run.seed: run.started for run in sorted(runs, key=lambda run: run.seed)} if starts(runs) else {}
    start = ", ".join(f"{value} (seed {seed})" for seed, (_, value) in begun.items())
    models = {f"{run.parameters:,} parameters, {units.size(run.dense_bytes)}": None for run in runs}
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in runs}))
    initial = (("initial weights", f"the same per seed; {runs[0].started[0]} {start}"),) if start else ()
    return (("seeds", seeds), ("model", " | ".join(models)), *initial)


def _row(group: str, runs: Sequence[Run], names: Sequence[str]) -> tuple[str, ...]:
    configs = [run.config for run in runs]
    return (group, runs[0].name, *(_one(configs, name) for name in names))


def _environment(runs: Sequence[Run]) -> tuple[tuple[str, str], ...]:
    places = [run.environment for run in runs]
    keys = dict.fromkeys(key for place in places for key in place)
    source = " | ".join(dict.fromkeys(run.source for run in runs))
    return (*((_words(key), _one(places, key)) for key in keys), ("source", source))


def _values(items: Iterable[Mapping[str, object]], key: str) -> list[str]:
    return list(dict.fromkeys(str(item.get(key, units.NONE)) for item in items))


def _one(items: Iterable[Mapping[str, object]], key: str) -> str:
    return " | ".join(_values(items, key))


def _words(key: str) -> str:
    return key.replace("_", " ")
