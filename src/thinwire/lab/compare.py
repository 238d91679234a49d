"""Many runs into one folder: finished ones are kept, so that the same call goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinwire.files import write_files
from thinwire.lab.plan import Plan, plans
from thinwire.lab.planned import Planned
from thinwire.lab.workers import Event, OnEvent, run_here, run_plans

__all__ = ["Event", "Plan", "compare", "forget", "plans", "remaining", "write_run"]

SCHEMAS = ("thinwire.run/1", "thinwire.train/1")


def compare(todo: Sequence[Planned], out: Path, jobs: int, on_event: OnEvent) -> dict[str, str]:
    """Make all runs and write each to ``<out>/runs/<slug>.json`` as it finishes; returns slug -> reason of the failed.

    A failed run leaves its traceback in ``<out>/failed/<slug>.txt``; the others go on.
    """
    failed: dict[str, str] = {}

    def handle(event: Event) -> None:
        if event.kind == "finished":
            write_run(event.value, run_file(out, event.plan))
        if event.kind == "failed":
            failed[event.plan.slug] = event.value[0]
            _write(out / "failed" / f"{event.plan.slug}.txt", event.value[1])
        on_event(event)

    if todo and todo[0].alone:
        run_here(todo, handle)
    else:
        run_plans(todo, jobs, handle)
    return failed


def remaining(wanted: Sequence[Planned], out: Path, fresh: bool = False) -> list[Planned]:
    """Return the plans that have no file in ``out`` yet; all of them where what is there will be forgotten (``fresh``).

    Raises ValueError where a file there is no run or, unless ``fresh``, is of another config or another task.
    """
    there = {file: _read(file) for file in sorted((out / "runs").glob("*.json"))}
    for file, run in there.items():
        if not run:
            raise ValueError(f"{file} is not a run of thinwire; delete it or give another --out")
        if not fresh:
            _check_task(file, run, wanted[0])
    return [plan for plan in wanted if fresh or not _finished(plan, there, out)]


def forget(out: Path) -> None:
    """Delete the runs in ``out``, and no file that is not a run."""
    for file in (out / "runs").glob("*.json"):
        if _read(file):
            file.unlink()


def write_run(result: dict[str, Any], file: Path) -> None:
    """Write a run in one step: a reader sees all of it or nothing."""
    _write(file, json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def run_file(out: Path, plan: Planned) -> Path:
    """Return where a plan's result is kept."""
    return out / "runs" / f"{plan.slug}.json"


def _finished(plan: Planned, there: Mapping[Path, dict[str, Any]], out: Path) -> bool:
    file, wanted = run_file(out, plan), plan.described()
    if file not in there:
        return False
    config = there[file]["config"]
    odd = [f"{key} {config.get(key)!r} instead of {wanted[key]!r}" for key in wanted if config.get(key) != wanted[key]]
    if odd:
        raise ValueError(f"{file} is another run ({', '.join(odd)}); give another --out, or --fresh to run all again")
    return True


def _check_task(file: Path, run: Mapping[str, Any], plan: Planned) -> None:
    task = {"schema": plan.schema} | plan.task()
    there = {"schema": run["schema"]} | run["config"]
    for key, wanted in task.items():
        if there.get(key) != wanted:
            again = "give another --out, or --fresh to delete it"
            raise ValueError(f"{file} is of {key} {there.get(key)!r}, not {wanted!r}; {again}")


def _read(file: Path) -> dict[str, Any]:
    """Return a run, or an empty object where the file is none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
    fits = isinstance(data, dict) and data.get("schema") in SCHEMAS and isinstance(data.get("config"), dict)
    return data if fits else {}


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_files({file: text})
