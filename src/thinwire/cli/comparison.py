"""What all comparisons share: the options of the folder, many runs into it, and the report at the end."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from thinwire.cli import options as room
from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.screen import say

if TYPE_CHECKING:
    from thinwire.lab.planned import Planned


def add_folder_options(parser: argparse.ArgumentParser, out: str, jobs: str) -> None:
    """Add where the runs go, and how many at once; ``out`` and ``jobs`` are the words for the defaults."""
    folder = f"folder for runs/*.json and the report; default: {out}"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=folder)
    parser.add_argument("--jobs", type=int, metavar="N", help=f"{jobs}; default: the number of cores")
    fresh = "delete the runs that the folder holds and start again; default: keep them"
    parser.add_argument("--fresh", action="store_true", help=fresh)
    parser.add_argument("--quiet", action="store_true", help="no progress, the end alone; default: progress")


def make_room(out: Path) -> None:
    """Make the folders of a comparison, and raise BadInput where a run or the report could not be written there."""
    for file in (out / "runs" / "run.json", *(out / f"report.{kind}" for kind in ("html", "md", "json"))):
        room.make_room(file, "--out", file.name)


def check_counts(options: argparse.Namespace) -> None:
    """Raise BadInput for fewer than one seed or job."""
    for name in ("seeds", "jobs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise BadInput(f"--{name} is {value}, expected 1 or more")


def run_all(
    options: argparse.Namespace, out: Path, wanted: Sequence[Planned], todo: Sequence[Planned], jobs: int
) -> int:
    """Run what is to be done, write the report of all that is there, and return the exit code."""
    failed = _run(options, out, wanted, todo, jobs)
    for slug, reason in failed.items():
        say(f"failed: {slug}: {reason} (traceback: {out / 'failed' / slug}.txt)")
    if len(failed) < len(wanted):
        _report(out)
    return 1 if failed else 0


def _run(
    options: argparse.Namespace, out: Path, wanted: Sequence[Planned], todo: Sequence[Planned], jobs: int
) -> dict[str, str]:
    from thinwire.cli.progress import watch
    from thinwire.lab.compare import compare, remaining

    started = time.perf_counter()
    try:
        with watch(wanted, todo, options.quiet) as on_event:
            failed = compare(todo, out, jobs, on_event)
    except KeyboardInterrupt:
        done = len(wanted) - len(remaining(wanted, out))
        again = "the same command without --fresh" if options.fresh else "the same command"
        print(f"\nstopped: {done} of {len(wanted)} runs are finished in {out}; {again} goes on from there")
        raise
    print(f"{len(todo)} runs in {time.perf_counter() - started:.0f} s, {len(wanted) - len(todo)} were there already")
    return failed


def _report(out: Path) -> None:
    from thinwire.cli.verdict import show_report
    from thinwire.lab.report import write_report

    print()
    with bad_input():
        written = write_report(out)
    show_report(written)
