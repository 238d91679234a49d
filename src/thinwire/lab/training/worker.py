"""One worker process: joins the others, builds what it needs, trains; the first one writes the result."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import thinwire
from thinwire.files import write_files
from thinwire.lab.models.catalogue import find
from thinwire.lab.training.begin import begin
from thinwire.lab.training.board import board
from thinwire.lab.training.checkpoint import Writer
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.data.base import Dataset
from thinwire.lab.training.joined import agree, common, leads
from thinwire.lab.training.meeting import meet
from thinwire.lab.training.one_rank import OneRank
from thinwire.lab.training.prepared import read
from thinwire.lab.training.records import Records
from thinwire.lab.training.replica import Replica
from thinwire.lab.training.result import result
from thinwire.lab.training.trainer import OnStep, Trainer

RESULT = "train.json"
Watch = Callable[[], AbstractContextManager[OnStep]]


@dataclass(frozen=True)
class Work:
    """What every worker is told: the run, its folder, whether it goes on, and what shows its steps (first worker)."""

    config: TrainConfig
    out: Path
    resume: bool
    watch: Watch


def work(told: Work, meeting: Path | None = None) -> None:
    """Be one of the workers of a run, and return when training is over; ``meeting``: the file that all of them, on this
    machine, find each other by. Without, it is as torchrun's environment says.
    """
    # The parent decides what Ctrl-C means; a worker that dies of it has nothing to say.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    device = _device(told.config)
    meet("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", meeting)
    try:
        _train(told, device)
    finally:
        dist.destroy_process_group()


def _device(config: TrainConfig) -> torch.device:
    local, workers = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if config.cuda:
        torch.cuda.set_device(local)
        return torch.device("cuda", local)
    torch.set_num_threads(threads_of(workers))
    return torch.device("cpu")


def threads_of(workers: int) -> int:
    """Return with how many threads each of so many workers on this machine computes, where no GPU does."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() else max(1, (os.cpu_count() or 1) // workers)


def _train(told: Work, device: torch.device) -> None:
    config, dataset = told.config, read(told.config)
    model = find(config.model).build(dataset.outputs, config.seed, **dataset.options)
    agree(_terms(told, dataset))
    first = leads(told.out)
    replica = OneRank(config, dataset, model, device)
    begin(replica, common(told.out) if told.resume else None)
    train(told, replica, Writer(told.out, replica.rank, replica.world, dist.barrier, first))


def train(told: Work, replica: Replica, writer: Writer) -> None:
    """Take a replica that has begun to the end of its run; the first rank's process shows and writes what it does."""
    trainer = Trainer(replica)
    if replica.rank:
        trainer.run(writer, lambda seen: None, lambda: None)
        return
    with told.watch() as on_step, board(told.out if told.config.tensorboard else None, replica.records) as draw:
        trainer.run(writer, on_step, lambda: _note(told, replica, draw))


def _terms(told: Work, dataset: Dataset) -> dict[str, Any]:
    """Return what all workers must have been given alike."""
    own = {"resume": told.resume, "checkpoint_steps": told.config.checkpoint_steps, "rows": len(dataset.train)}
    return told.config.described() | own | {"thinwire": thinwire.__version__, "torch": torch.__version__}


def _note(told: Work, replica: Replica, draw: Callable[[Records], None]) -> None:
    """Write the result as it is after an epoch."""
    made = result(told.config, replica.model, replica.dataset.kind, replica.records, replica.averaging)
    write_files({told.out / RESULT: json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n"})
    draw(replica.records)
