"""What two workers do in the tests of the trainer: real processes, one after the other case, started once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from thinwire.lab.models.catalogue import find
from thinwire.lab.training import states
from thinwire.lab.training.begin import begin
from thinwire.lab.training.checkpoint import Writer, newest
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.frames import save
from thinwire.lab.training.one_rank import OneRank
from thinwire.lab.training.prepared import read
from thinwire.lab.training.trainer import Seen, Trainer

CPU = torch.device("cpu")
QUICK = {"limit_rows": 96, "batch_size": 8, "epochs": 2, "checkpoint_steps": 4, "lr": 0.05, "warmup": 0.5}
"""Six steps an epoch with two workers: checkpoints at 4, 6, 8 and 12."""


class Stopped(Exception):
    """Stands for a process that ends: nothing after it happens."""


def replica(config: TrainConfig, out: Path | None = None) -> OneRank:
    """Return the replica of this rank; with ``out``, gone on from what is there."""
    dataset = read(config)
    made = OneRank(config, dataset, find(config.model).build(dataset.outputs, config.seed, **dataset.options), CPU)
    begin(made, newest(out) if out else None)
    return made


def run(made: OneRank, out: Path, on_step: Callable[[Seen], None] = lambda seen: None) -> None:
    Trainer(made).run(Writer(out, made.rank, made.world, dist.barrier), on_step, lambda: None)


def remembered(made: OneRank) -> dict[str, torch.Tensor]:
    """Return all that the next step would depend on."""
    parts = {
        "model": made.model.state_dict(),
        "optimizer": states.of_optimizer(made.optimizer),
        "averaging": made.averaging.state_dicts()[0],
        "generators": states.of_generators(CPU),
    }
    return {f"{part}/{name}": x.clone() for part, state in parts.items() for name, x in state.items()}


def interrupted(config: TrainConfig, out: Path, at: int) -> OneRank:
    """Run until after step ``at``, drop everything, and go on from the newest checkpoint."""

    def stop(seen: Seen) -> None:
        if seen.step == at:
            raise Stopped

    try:
        run(replica(config), out, stop)
    except Stopped:
        dist.barrier()
    made = replica(config, out)
    run(made, out)
    return made


def cases(rank: int, out: Path, settings: list[dict[str, Any]]) -> None:
    """Be one of two ranks: for each settings, save what a whole and an interrupted run remember at their ends."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out}/store", rank=rank, world_size=2)
    for number, setting in enumerate(settings):
        config = TrainConfig(**QUICK, **setting)
        whole = replica(config)
        run(whole, out / f"{number}-whole")
        save(remembered(whole), out / f"{number}-whole" / f"end-{rank}.twf")
        if rank == 0:
            keep(whole, out / f"{number}-whole")
        again = interrupted(config, out / f"{number}-again", at=11)
        save(remembered(again), out / f"{number}-again" / f"end-{rank}.twf")
    dist.destroy_process_group()


def keep(made: OneRank, out: Path) -> None:
    """Leave the records where the test finds them."""
    import json

    (out / "records.json").write_text(json.dumps(made.records.saved()))


def two_workers(out: Path, settings: list[dict[str, Any]]) -> None:
    """Run all cases in two processes."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    mp.spawn(cases, (out, settings), nprocs=2)
