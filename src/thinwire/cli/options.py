"""The options that `compare` and `federate` share, and the RunConfig that they make."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinwire.cli.bad_input import BadInput
from thinwire.files import check_target

if TYPE_CHECKING:
    from thinwire.lab.config import RunConfig

TASK_HELP = "the task to train: data, model and metric (`thinwire list tasks`); default: digits"
OF_TASK = "default: the task's own"


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what describes a federated run, compression and seeds left out."""
    run = parser.add_argument_group("the run")
    run.add_argument("--task", default="digits", metavar="NAME", help=TASK_HELP)
    data = "folder with the task's files; default: $THINWIRE_DATA (digits needs none)"
    run.add_argument("--data", type=Path, metavar="FOLDER", help=data)
    strategy = "Flower's strategy, such as FedAdam or 'FedAvgM(server_momentum=0.9)'; default: FedAvg"
    run.add_argument("--strategy", default="FedAvg", metavar="NAME", help=strategy)
    run.add_argument("--clients", type=int, metavar="N", help=f"how many clients; {OF_TASK} (digits: 10)")
    deal = "how rows are dealt: iid, dirichlet(ALPHA), by-label(CLASSES) or by-size(SIGMA)"
    run.add_argument("--partition", metavar="RULE", help=f"{deal}; {OF_TASK} (digits: dirichlet(0.5))")
    rows = "train on the first N rows only, to be quick; default: all"
    run.add_argument("--rows", type=int, metavar="N", help=rows)
    run.add_argument("--rounds", type=int, metavar="N", help=f"how many rounds; {OF_TASK} (digits: 20)")
    share = "share of the clients that train in a round, above 0 to 1; default: 1.0"
    run.add_argument("--fraction-train", type=float, default=1.0, metavar="SHARE", help=share)
    run.add_argument("--local-epochs", type=int, metavar="N", help=f"epochs a client trains per round; {OF_TASK}")
    run.add_argument("--batch-size", type=int, metavar="N", help=f"rows per step of a client; {OF_TASK}")
    run.add_argument("--optimizer", metavar="NAME", help=f"the clients' optimizer, SGD or Adagrad; {OF_TASK}")
    run.add_argument("--lr", type=float, metavar="RATE", help=f"the clients' learning rate; {OF_TASK}")
    run.add_argument("--momentum", type=float, metavar="M", help=f"the clients' momentum, 0 to below 1; {OF_TASK}")


def run_config(options: argparse.Namespace, **more: Any) -> RunConfig:
    """Return the config that the options describe. Raises ValueError."""
    from thinwire.lab.config import RunConfig

    names = (
        *("task", "data", "strategy", "clients", "partition", "rounds", "fraction_train", "rows"),
        *("local_epochs", "batch_size", "optimizer", "lr", "momentum"),
    )
    return RunConfig(**{name: getattr(options, name) for name in names}, **more)


def make_room(file: Path, option: str, example: str) -> None:
    """Make the folder of a file that a command will write at its end; raise BadInput where that cannot be."""
    if file.is_dir():
        raise BadInput(f"{option} {str(file)!r} is a folder, expected a file such as {example}")
    make_folder(file.parent)
    try:
        check_target(file)
    except OSError as error:
        raise BadInput(f"{option}: {error}") from error


def make_folder(folder: Path) -> None:
    """Make a folder that files can be written to, or raise BadInput."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{str(folder)!r} cannot be made a folder ({error.strerror}); give another --out") from error
    if not os.access(folder, os.W_OK):
        raise BadInput(f"{str(folder)!r} cannot be written to; give another --out")
