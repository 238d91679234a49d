"""One worker process: joins the others, builds what it needs, trains; the first one writes the result."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from thinwire.lab.models.catalogue import find
from thinwire.lab.replace import replace_files
from thinwire.lab.training.board import board
from thinwire.lab.training.checkpoint import Writer, newest
from thinwire.lab.training.config import TrainConfig
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


def work(told: Work) -> None:
    """Be one of the workers that torch's launcher started, and return when training is over."""
    # The parent decides what Ctrl-C means; a worker that dies of it has nothing to say.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    device = _device(told.config)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        _train(told, device)
    finally:
        dist.destroy_process_group()


def _device(config: TrainConfig) -> torch.device:
    local, workers = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if config.cuda:
        torch.cuda.set_device(local)
        return torch.device("cuda", local)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    return torch.device("cpu")


def _train(told: Work, device: torch.device) -> None:
    config, dataset = told.config, read(told.config)
    model = find(config.model).build(dataset.outputs, config.seed, **dataset.options)
    replica = Replica(config, dataset, model, device)
    replica.begin(newest(told.out) if told.resume else None)
    trainer, writer = Trainer(replica), Writer(told.out, replica.rank, replica.world, dist.barrier)
    if replica.rank:
        trainer.run(writer, lambda seen: None, lambda: None)
        return
    with told.watch() as on_step, board(told.out if config.tensorboard else None, replica.records) as draw:
        trainer.run(writer, on_step, lambda: _note(told, replica, draw))


def _note(told: Work, replica: Replica, draw: Callable[[Records], None]) -> None:
    """Write the result as it is after an epoch."""
    exchanges = replica.averaging.exchanges()
    made = result(told.config, replica.model, replica.dataset.kind, replica.records, exchanges)
    replace_files({told.out / RESULT: json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n"})
    draw(replica.records)
