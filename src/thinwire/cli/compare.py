"""Compare ways to compress: every configuration with every seed, the same data and initial weights, then a report."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.labels import pairing
from thinwire.cli.options import add_run_options, make_folder, run_config
from thinwire.errors import unknown
from thinwire.lab.pairings import BASELINE, PAIRINGS, Pairing, pairings

if TYPE_CHECKING:
    from thinwire.lab.plan import Plan

SUMMARY = "compare ways to compress, with a report"
EPILOG = f"""configurations: {", ".join(item.group for item in PAIRINGS)}
A finished run is kept: the same command goes on where it was stopped.

examples:
  thinwire compare --out demo                   everything on digits, about three minutes on two cores
  thinwire compare --only auto,quantize+lowrank --seeds 1 --rounds 5
  thinwire compare --only auto --uplink "TopK(0.01)" --downlink "ErrorBound(nmse=0.05)" --out mine
                                                your own configuration next to auto and uncompressed"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    what = parser.add_argument_group("what is compared")
    only = f"configurations, comma-separated ({BASELINE} always runs too); default: all"
    what.add_argument("--only", metavar="NAMES", help=only)
    text = "a method's name, a codec or a policy (`thinwire list`)"
    what.add_argument("--uplink", default="", metavar="TEXT", help=f"adds a configuration, clients to server: {text}")
    down = "the same, server to clients; where only one of the two is given the other is none: dense frames"
    what.add_argument("--downlink", default="", metavar="TEXT", help=down)
    what.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1; default: 3")
    add_run_options(parser)
    out = "folder for runs/*.json and the report; default: runs/TASK"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=out)
    jobs = "runs side by side, one thread each; default: the number of cores"
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help=jobs)
    fresh = "delete the runs that the folder holds and start again; default: keep them"
    parser.add_argument("--fresh", action="store_true", help=fresh)
    parser.add_argument("--quiet", action="store_true", help="no progress, the end alone; default: progress")


def act(options: argparse.Namespace) -> int:
    """Check, run what is missing, write the report."""
    out = options.out or Path("runs") / options.task
    with bad_input():
        wanted, todo = _checked(options, out)
    failed = _run(options, out, wanted, todo)
    for slug, reason in failed.items():
        print(f"failed: {slug}: {reason} (traceback: {out / 'failed' / slug}.txt)")
    if len(failed) < len(wanted):
        _report(out)
    return 1 if failed else 0


def _checked(options: argparse.Namespace, out: Path) -> tuple[list[Plan], list[Plan]]:
    """Return all plans and those to be run. The folder is touched last, when nothing can be wrong any more."""
    from thinwire.lab.compare import forget, plans, remaining
    from thinwire.lab.run import prepare

    _check_counts(options)
    pairs = chosen(options)
    wanted = plans(pairs, run_config(options), range(options.seeds))
    todo = remaining(wanted, out, options.fresh)
    for plan in wanted[:: len(pairs)]:
        prepare(plan.config)
    make_folder(out / "runs")
    if options.fresh:
        forget(out)
    return wanted, todo


def _run(options: argparse.Namespace, out: Path, wanted: Sequence[Plan], todo: Sequence[Plan]) -> dict[str, str]:
    from thinwire.cli.progress import watch
    from thinwire.lab.compare import compare, remaining

    started = time.perf_counter()
    try:
        with watch(wanted, todo, options.quiet) as on_event:
            failed = compare(todo, out, options.jobs, on_event)
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


def chosen(options: argparse.Namespace) -> list[Pairing]:
    """Return the configurations to compare, the baseline first. Raises BadInput on a name that is none."""
    known = pairings()
    wanted = [name.strip() for name in options.only.split(",")] if options.only is not None else list(known)
    for name in wanted:
        if name not in known:
            raise BadInput(unknown("configuration", name, known))
    own = [pairing(options.uplink, options.downlink)] if options.uplink or options.downlink else []
    named = [item for item in known.values() if item.group in (BASELINE, *wanted)]
    return named + [item for item in own if item.group not in {other.group for other in named}]


def _check_counts(options: argparse.Namespace) -> None:
    for name in ("seeds", "jobs"):
        if getattr(options, name) < 1:
            raise BadInput(f"--{name} is {getattr(options, name)}, expected 1 or more")
