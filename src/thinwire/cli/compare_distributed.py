"""Compare ways to compress the gradients of data-parallel training: the same data, weights and order, then a report.

Real workers take the cores, so that one run is made after the other; with --simulate all ranks of a run share one
process, which counts the same bytes, says nothing on time, and leaves cores for other runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.comparison import add_folder_options, check_counts, make_room, run_all
from thinwire.cli.labels import plain
from thinwire.cli.train_options import WORKERS, add_pipeline, add_training_options, add_workers, gpus, train_config
from thinwire.lab.training.compared import DENSE, GROUPS, METHODS

if TYPE_CHECKING:
    from thinwire.lab.planned import Planned
    from thinwire.lab.training.config import TrainConfig
    from thinwire.lab.training.data import Dataset
    from thinwire.lab.training.plan import TrainPlan

SUMMARY = "compare ways to compress gradients"
EPILOG = f"""by default: {", ".join(METHODS)}
A finished run is kept, and one that was stopped goes on from its checkpoint: give the same command again.

examples:
  thinwire compare --distributed --out gradients
                                                small-cnn on digits, thirteen methods, three seeds
  thinwire compare --distributed --model resnet18 --dataset cifar10 --only hggtopk,topk,int8 --density 0.01 --seeds 1
  thinwire compare --distributed --simulate 4 --only sparsifiers --density 0.01
                                                four ranks in one process: bytes and loss, no times
  thinwire compare --distributed --only powersgd --compressor "LowRank(rank=4, method='range')" --use-pipeline"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    on = "data-parallel training; without it: federated training, `thinwire compare --help`; default: federated"
    parser.add_argument("--distributed", action="store_true", help=on)
    what = parser.add_argument_group("what is compared")
    only = f"methods, comma-separated: `thinwire list methods`, torch's hooks, or {', '.join(GROUPS)} ({DENSE}, dense, "
    what.add_argument("--only", metavar="NAMES", help=f"{only}always runs too); default: those below")
    text = "adds a method's name, a codec or a compressor (`thinwire list`); may be given again; default: none"
    what.add_argument("--compressor", action="append", default=[], metavar="TEXT", help=text)
    density = "share of the elements that is sent, of all methods that have one; default: each its own"
    what.add_argument("--density", type=float, metavar="SHARE", help=density)
    what.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1; default: 3")
    add_pipeline(what)
    run = add_training_options(parser)
    add_workers(run)
    simulate = "N ranks in one process instead of workers, on the CPU, the bytes of a real run; default: workers"
    run.add_argument("--simulate", type=int, metavar="N", help=simulate)
    add_folder_options(parser, "runs/distributed/MODEL-DATASET", "simulated runs side by side, one thread each")


def act(options: argparse.Namespace) -> int:
    """Check, run what is missing, write the report."""
    with bad_input():
        base = _base(options)
        out = options.out or Path("runs") / "distributed" / _name(base)
        wanted, todo = _checked(options, base, out)
    return run_all(options, out, wanted, todo, options.jobs or os.cpu_count() or 1)


def _base(options: argparse.Namespace) -> TrainConfig:
    """Return the config of the dense run. Raises BadInput for options that exclude each other, ValueError."""
    if options.simulate is None:
        if options.jobs is not None:
            raise BadInput("--jobs is for --simulate: real workers take the cores, and run one run after the other")
        found = gpus(options.gpus)
        where = {"workers": found or (WORKERS if options.workers is None else options.workers), "cuda": found > 0}
    else:
        if options.workers is not None or options.gpus:
            raise BadInput(f"--simulate {options.simulate} says how many ranks there are: leave --workers, --gpus out")
        where = {"workers": options.simulate, "cuda": False}
    return train_config(options, **where, compressor=DENSE, density=None, seed=0, simulate=options.simulate is not None)


def _name(base: TrainConfig) -> str:
    simulated = f"-simulated{base.workers}" if base.simulate else ""
    return f"{base.model}-{plain(Path(base.dataset).stem)}{simulated}"


def _checked(options: argparse.Namespace, base: TrainConfig, out: Path) -> tuple[list[TrainPlan], list[Planned]]:
    """Return all plans and those to be run. The folder is touched last, when nothing can be wrong any more."""
    from thinwire.lab.compare import forget, remaining
    from thinwire.lab.training.plan import UNFINISHED, plans
    from thinwire.lab.training.prepared import read

    check_counts(options)
    wanted = plans(_chosen(options, base, read(base)), range(options.seeds), out)
    todo = remaining(wanted, out, options.fresh)
    make_room(out)
    if options.fresh:
        forget(out)
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return wanted, todo


def _chosen(options: argparse.Namespace, base: TrainConfig, dataset: Dataset) -> list[TrainConfig]:
    """Return a config a method, dense first. What nobody named and cannot be here is left out, and said so."""
    from thinwire.lab.training.plan import with_method

    found = [base]
    for text, named in _texts(options):
        try:
            config = with_method(base, text, options.density, dataset)
        except ValueError as error:
            if named:
                raise
            print(f"left out: {text}: {error}", file=sys.stderr)
        else:
            found.append(config)
    if options.density is not None and all(config.density is None for config in found):
        raise BadInput(f"--density is {options.density}, but no method here has one by name")
    return list(dict.fromkeys(found))


def _texts(options: argparse.Namespace) -> list[tuple[str, bool]]:
    """Return the methods to compare with dense, and of each whether the user named it. Raises ValueError."""
    from thinwire.lab.training.plan import known

    if options.only is None:
        texts = [(name, False) for name in METHODS]
    else:
        names = [name.strip() for name in options.only.split(",")]
        texts = [(known(name), True) for wanted in names for name in GROUPS.get(wanted, (wanted,))]
    return [(text, named) for text, named in (*texts, *((text, True) for text in options.compressor)) if text != DENSE]
