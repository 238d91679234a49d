"""Train a model in data-parallel workers that compress the gradients they send each other, every byte counted.

Every GPU is used where there is one, else CPU processes. A result (train.json) and a checkpoint are written after every
epoch; a run that was stopped, by whatever, goes on with --resume as if it never had been.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from thinwire.cli import labels
from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.options import make_folder
from thinwire.cli.train_options import add_options
from thinwire.cli.train_screen import no_bar, show, step_bar

if TYPE_CHECKING:
    from thinwire.lab.training.checkpoint import Saved
    from thinwire.lab.training.config import TrainConfig

__all__ = ["EPILOG", "SUMMARY", "act", "add_options"]

SUMMARY = "train a model in several workers, gradients compressed"
EPILOG = """examples:
  thinwire train                                small-cnn on digits, two workers, seconds
  thinwire train --compressor none              the same without compression, to compare
  thinwire train --model resnet18 --dataset cifar10 --epochs 50 --compressor hggtopk --density 0.05 --use-pipeline
  thinwire train --model small-gpt --dataset book.txt --compressor "LowRank(rank=4)" --clip-norm 1 --warmup 0.5"""


def act(options: argparse.Namespace) -> int:
    """Check, train, show."""
    from thinwire.lab.training.launch import WorkersFailed, launch
    from thinwire.lab.training.worker import Work

    with bad_input():
        config = _config(options)
        out = options.out or Path("runs") / "train" / _slug(config)
        _check(config)
        saved = _make_room(options, out, config)
    try:
        launch(Work(config, out, saved is not None, no_bar if options.quiet else step_bar))
    except WorkersFailed as failed:
        print(f"thinwire train: the run failed: {failed}{_hint(out)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped{_hint(out)}", file=sys.stderr)
        raise
    show(json.loads((out / "train.json").read_text(encoding="utf-8")), out)
    return 0


def _config(options: argparse.Namespace) -> TrainConfig:
    """Return the config that the options describe. Raises ValueError."""
    from thinwire.lab.training.config import TrainConfig

    names = [f.name for f in fields(TrainConfig) if f.init and f.name not in ("workers", "cuda")]
    gpus = _gpus(options.gpus)
    given = {name: getattr(options, name) for name in names}
    return TrainConfig(**given, workers=gpus or options.workers, cuda=gpus > 0)


def _gpus(wanted: int | None) -> int:
    """Return how many GPUs to use. Raises ValueError for more than there are."""
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is not None and not 0 <= wanted <= there:
        raise ValueError(f"--gpus is {wanted}, this machine has {there}; with 0, --workers processes train on the CPU")
    return there if wanted is None else wanted


def _check(config: TrainConfig) -> None:
    """Raise BadInput, ValueError or OSError for what the workers would stumble over, each on its own."""
    from thinwire.lab.training.prepared import check, read

    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise BadInput("the package tensorboard is not installed; install it with: pip install tensorboard")
    # Read here first: what has to be downloaded is, once, and the workers find it.
    dataset = read(config)
    try:
        check(config, dataset)
    except ModuleNotFoundError:
        raise
    except ImportError as error:
        raise BadInput(str(error)) from error


def _make_room(options: argparse.Namespace, out: Path, config: TrainConfig) -> Saved | None:
    """Return the checkpoint to go on from, if any; make the folder. What is there is deleted with --fresh only."""
    from thinwire.lab.training.checkpoint import newest

    if options.fresh and options.resume:
        raise BadInput("--fresh starts again and --resume goes on: give one of them")
    used = [out / name for name in ("checkpoints", "train.json", "tensorboard") if (out / name).exists()]
    if used and not (options.fresh or options.resume):
        raise BadInput(f"{out} holds a run{_hint(out)}, --fresh starts again, another --out leaves it alone")
    saved = newest(out) if options.resume else None
    if saved is not None:
        _check_saved(saved, config)
    make_folder(out)
    for path in used if options.fresh else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return saved


def _check_saved(saved: Saved, config: TrainConfig) -> None:
    """Raise BadInput for another run's checkpoint, ValueError for a damaged one; say what another number means."""
    from thinwire.lab.training.config import differences

    if odd := differences(saved.config, config.described()):
        raise BadInput(f"{saved.folder} is of another run ({'; '.join(odd)}); give the same settings, or another --out")
    if config.compressor == "torch-powersgd":
        raise BadInput("torch-powersgd keeps its state by bucket, which no checkpoint can restore; use --fresh")
    saved.check()
    if saved.world != config.workers:
        print(_other_world(saved.world, config), file=sys.stderr)


def _other_world(before: int, config: TrainConfig) -> str:
    now, rows = config.workers, config.batch_size
    return (
        f"{now} workers go on with what {before} left: a step takes {rows * now} rows instead of {rows * before}, and "
        f"worker r starts with the residuals of the old r, r + {now}, ..., their sum times {now}/{before}"
    )


def _slug(config: TrainConfig) -> str:
    density = "" if config.density is None else f"-{config.density:g}"
    method = labels.plain(config.compressor) + density
    return f"{config.model}-{labels.plain(Path(config.dataset).stem)}-{method}-seed{config.seed}"


def _hint(out: Path) -> str:
    """Return how to go on from what is on disk."""
    from thinwire.lab.training.checkpoint import newest

    saved = newest(out)
    return f"; --resume goes on from step {saved.position.step} in {out}" if saved else "; there is no checkpoint yet"
