"""Compare ways to compress: every configuration with every seed, the same data and initial weights, then a report.

Federated training on Flower, or with --distributed data-parallel training, whose options are other ones:
`thinwire compare --distributed --help` explains them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from thinwire.cli import compare_distributed
from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.comparison import add_folder_options, check_counts, make_room, run_all
from thinwire.cli.labels import pairing
from thinwire.cli.options import add_run_options, run_config
from thinwire.errors import unknown
from thinwire.lab.pairings import BASELINE, PAIRINGS, Pairing, pairings

if TYPE_CHECKING:
    from thinwire.lab.plan import Plan
    from thinwire.lab.planned import Planned

SUMMARY = "compare ways to compress, with a report"
VARIANTS = {"--distributed": compare_distributed}
EPILOG = f"""configurations: {", ".join(item.group for item in PAIRINGS)}
A finished run is kept: the same command goes on where it was stopped.

examples:
  thinwire compare --out demo                   everything on digits, about three minutes on two cores
  thinwire compare --only auto,quantize+lowrank --seeds 1 --rounds 5
  thinwire compare --only auto --uplink "TopK(0.01)" --downlink "ErrorBound(nmse=0.05)" --out mine
                                                your own configuration next to auto and uncompressed
  thinwire compare --distributed --density 0.05 --out gradients
                                                gradients of data-parallel workers: dense, torch's hooks, ten of ours"""


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
    distributed = "data-parallel training instead, with options of its own: `thinwire compare --distributed --help`"
    parser.add_argument("--distributed", action="store_true", help=f"{distributed}; default: federated")
    add_folder_options(parser, "runs/TASK", "runs side by side, one thread each")


def act(options: argparse.Namespace) -> int:
    """Check, run what is missing, write the report."""
    out = options.out or Path("runs") / options.task
    with bad_input():
        wanted, todo = _checked(options, out)
    return run_all(options, out, wanted, todo, options.jobs or os.cpu_count() or 1)


def _checked(options: argparse.Namespace, out: Path) -> tuple[list[Plan], list[Planned]]:
    """Return all plans and those to be run. The folder is touched last, when nothing can be wrong any more."""
    from thinwire.lab.compare import forget, plans, remaining
    from thinwire.lab.run import prepare

    check_counts(options)
    pairs = chosen(options)
    wanted = plans(pairs, run_config(options), range(options.seeds))
    todo = remaining(wanted, out, options.fresh)
    for plan in wanted[:: len(pairs)]:
        prepare(plan.config)
    make_room(out)
    if options.fresh:
        forget(out)
    return wanted, todo


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
