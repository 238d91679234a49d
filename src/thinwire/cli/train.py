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
from pathlib import Path
from typing import TYPE_CHECKING

from thinwire.cli import labels
from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.options import make_room
from thinwire.cli.train_joined import join, workers
from thinwire.cli.train_options import WORKERS, add_options, gpus, train_config
from thinwire.cli.train_screen import no_bar, show, step_bar
from thinwire.cli.train_simulated import in_one_process

if TYPE_CHECKING:
    from thinwire.lab.training.checkpoint import Saved
    from thinwire.lab.training.config import TrainConfig
    from thinwire.lab.training.joined import Place

__all__ = ["EPILOG", "SUMMARY", "act", "add_options"]

SUMMARY = "train a model in several workers, gradients compressed"
EPILOG = """examples:
  thinwire train                                small-cnn on digits, two workers, seconds
  thinwire train --compressor none              the same without compression, to compare
  thinwire train --simulate --workers 8         eight workers in one process: the same bytes, accuracy and bits
  thinwire train --model resnet18 --dataset cifar10 --epochs 50 --compressor hggtopk --density 0.05 --use-pipeline
  thinwire train --model small-gpt --dataset book.txt --compressor "LowRank(rank=4)" --clip-norm 1 --warmup 0.5"""


def act(options: argparse.Namespace) -> int:
    """Check, train, show."""
    from thinwire.lab.training.joined import place
    from thinwire.lab.training.launch import WorkersFailed, launch
    from thinwire.lab.training.worker import Work

    with bad_input():
        joined = place()
        config = _config(options, joined)
        out = options.out or Path("runs") / "train" / _slug(config)
        _check(config)
        saved = _make_room(options, out, config, joined)
    if joined is not None:
        code = join(Work(config, out, options.resume, no_bar if options.quiet else step_bar), joined)
        return _shown(out) if code == joined.rank == 0 else code
    try:
        told = Work(config, out, saved is not None, no_bar if options.quiet else step_bar)
        in_one_process(told) if config.simulate else launch(told)
    except WorkersFailed as failed:
        print(f"thinwire train: the run failed: {failed}{_hint(out)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped{_hint(out)}", file=sys.stderr)
        raise
    return _shown(out)


def _shown(out: Path) -> int:
    show(json.loads((out / "train.json").read_text(encoding="utf-8")), out)
    return 0


def _config(options: argparse.Namespace, joined: Place | None) -> TrainConfig:
    """Return the config that the options describe. Raises ValueError."""
    found = gpus(options.gpus)
    if joined and options.simulate:
        raise ValueError("--simulate is one process, and torchrun started several: start it without")
    own = (0 if options.simulate else found) or (WORKERS if options.workers is None else options.workers)
    return train_config(options, workers=workers(options, joined, found) if joined else own, cuda=found > 0)


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


def _make_room(options: argparse.Namespace, out: Path, config: TrainConfig, joined: Place | None) -> Saved | None:
    """Return the checkpoint to go on from, if any; make the folder. What is there is deleted with --fresh only."""
    from thinwire.lab.training.checkpoint import newest

    if options.fresh and options.resume:
        raise BadInput("--fresh starts again and --resume goes on: give one of them")
    used = [out / name for name in ("checkpoints", "train.json", "tensorboard") if (out / name).exists()]
    if used and not (options.fresh or options.resume):
        raise BadInput(f"{out} holds a run{_hint(out)}, --fresh starts again, another --out leaves it alone")
    saved = newest(out) if options.resume else None
    if saved is not None:
        _check_saved(saved, config, joined)
    make_room(out / "train.json", "--out", "train.json")
    for path in used if options.fresh else ():
        # Workers that were started together may be at it at the same time.
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return saved


def _check_saved(saved: Saved, config: TrainConfig, joined: Place | None) -> None:
    """Raise BadInput for another run's checkpoint, ValueError for a damaged one; say what another number means."""
    from thinwire.lab.training.config import differences

    if odd := differences(saved.config, config.described()):
        raise BadInput(f"{saved.folder} is of another run ({'; '.join(odd)}); give the same settings, or another --out")
    if config.compressor == "torch-powersgd":
        raise BadInput("torch-powersgd keeps its state by bucket, which no checkpoint can restore; use --fresh")
    # Where machines share no folder, each has the parts of its own workers.
    saved.check([joined.rank] if joined and saved.world == joined.world else None)
    if saved.world != config.workers and not (joined and joined.rank):
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
