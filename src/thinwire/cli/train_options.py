"""The options of `train`, most of them also of `compare --distributed`: they have the names of TrainConfig's fields."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinwire.cli.numbers import BELOW_ONE, COUNT, FROM_ZERO, NOT_NEGATIVE, POSITIVE, SEED, SHARE

if TYPE_CHECKING:
    from thinwire.lab.training.config import TrainConfig

OF_KIND = "default: the model's kind decides"
WORKERS = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    _add_compression(parser.add_argument_group("compression"))
    _add_own(add_training_options(parser))
    _add_records(parser.add_argument_group("records"))


def add_training_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what describes a training run, compressor, workers and seed left out; return the group of the run."""
    run = parser.add_argument_group("the run")
    _add_run(run)
    _add_optimization(parser.add_argument_group("optimization"))
    return run


def train_config(options: argparse.Namespace, **chosen: Any) -> TrainConfig:
    """Return the config of the options, with other values for the fields in ``chosen``. Raises ValueError."""
    from thinwire.lab.training.config import TrainConfig

    names = [f.name for f in fields(TrainConfig) if f.init and hasattr(options, f.name)]
    return TrainConfig(**{name: getattr(options, name) for name in names} | chosen)


def gpus(wanted: int | None) -> int:
    """Return how many GPUs to use. Raises ValueError for more than there are."""
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is not None and not 0 <= wanted <= there:
        raise ValueError(f"--gpus is {wanted}, this machine has {there}; with 0, --workers processes train on the CPU")
    return there if wanted is None else wanted


def _add_compression(group: argparse._ArgumentGroup) -> None:
    text = (
        "a method's name, a codec or a compressor (`thinwire list`); none: dense; torch-fp16, torch-powersgd: torch's "
        "own hooks; default: hggtopk"
    )
    group.add_argument("--compressor", default="hggtopk", metavar="TEXT", help=text)
    density = "share of the elements that is sent, for a method's name that has one; default: the method's own"
    group.add_argument("--density", type=SHARE, metavar="SHARE", help=density)
    add_pipeline(group)


def add_pipeline(group: argparse._ArgumentGroup) -> None:
    """Add whether averaging goes on beside backward."""
    pipeline = "encode and send in threads of their own while backward goes on; default: within backward"
    group.add_argument("--use-pipeline", action="store_true", help=pipeline)


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model", default="small-cnn", metavar="NAME", help="`thinwire list models`; default: small-cnn"
    )
    dataset = "`thinwire list datasets`, or a text file (.txt); default: digits"
    group.add_argument("--dataset", default="digits", metavar="NAME", help=dataset)
    data = "folder with the data set's files; default: $THINWIRE_DATA (digits needs none)"
    group.add_argument("--data", type=Path, metavar="FOLDER", help=data)
    rows = "train and test on the first N rows of each only, to be quick; default: all"
    group.add_argument("--limit-rows", type=COUNT, metavar="N", help=rows)
    group.add_argument(
        "--context", type=COUNT, metavar="N", help="tokens of a text's window; default: the data set's own"
    )
    group.add_argument("--augment", action="store_true", help="crop and mirror images at random; default: as they are")
    group.add_argument(
        "--epochs", type=COUNT, default=10, metavar="N", help="times that all rows are seen; default: 10"
    )
    group.add_argument("--steps", type=COUNT, metavar="N", help="end after N steps; default: after the epochs")
    group.add_argument(
        "--batch-size", type=COUNT, default=32, metavar="N", help="rows a step of each worker; default: 32"
    )


def _add_own(group: argparse._ArgumentGroup) -> None:
    add_workers(group)
    simulate = "all workers in one process, one after the other: the same parameters and bytes; default: processes"
    group.add_argument("--simulate", action="store_true", help=simulate)
    group.add_argument(
        "--seed", type=SEED, default=0, metavar="N", help="seed of weights, order and codecs; default: 0"
    )


def add_workers(group: argparse._ArgumentGroup) -> None:
    """Add how many workers there are, and what each computes on."""
    group.add_argument(
        "--gpus", type=FROM_ZERO, metavar="N", help="GPUs to use, 0 for none; default: all that are there"
    )
    workers = f"processes where no GPU is used; default: {WORKERS}"
    # None and not 2: workers that torchrun started are as many as it says, and simulated ones as --simulate says.
    group.add_argument("--workers", type=COUNT, metavar="N", help=workers)


def _add_optimization(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--optimizer", metavar="NAME", help=f"sgd or adamw; {OF_KIND} (images: sgd, text: adamw)")
    group.add_argument("--lr", type=POSITIVE, metavar="RATE", help=f"the full learning rate; {OF_KIND} (0.05, 0.001)")
    momentum = f"of sgd, or adamw's first beta; {OF_KIND} (0.9)"
    group.add_argument("--momentum", type=BELOW_ONE, metavar="M", help=momentum)
    group.add_argument("--weight-decay", type=NOT_NEGATIVE, metavar="W", help=f"{OF_KIND} (0.0005, 0.01)")
    clip = "clip the gradient's L2 norm, where compressed each worker's and tensor by tensor; default: not clipped"
    group.add_argument("--clip-norm", type=POSITIVE, metavar="NORM", help=clip)
    schedule = "of the learning rate: cosine, step (a tenth at 1/2 and 3/4) or constant; default: cosine"
    group.add_argument("--schedule", default="cosine", metavar="NAME", help=schedule)
    warmup = "epochs, or parts of one, of a linear warm-up of the learning rate; default: 0"
    group.add_argument("--warmup", type=NOT_NEGATIVE, default=0.0, metavar="EPOCHS", help=warmup)
    group.add_argument("--amp", action="store_true", help="compute in bfloat16 where that is safe; default: float32")


def _add_records(group: argparse._ArgumentGroup) -> None:
    out = "folder for train.json and checkpoints; default: runs/train/MODEL-DATASET-COMPRESSOR-seedN"
    group.add_argument("--out", type=Path, metavar="FOLDER", help=out)
    resume = "go on from the newest checkpoint of --out, from the start where there is none; default: start a new run"
    group.add_argument("--resume", action="store_true", help=resume)
    fresh = "delete the run that --out holds and start again; default: leave it alone"
    group.add_argument("--fresh", action="store_true", help=fresh)
    every = "a checkpoint every N steps, besides those after every epoch; default: none"
    group.add_argument("--checkpoint-steps", type=COUNT, metavar="N", help=every)
    group.add_argument(
        "--tensorboard", action="store_true", help="also write TensorBoard's files; default: not written"
    )
    group.add_argument("--quiet", action="store_true", help="no progress, the end alone; default: a bar on a terminal")
