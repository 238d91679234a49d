"""What real workers and simulated ones do in the tests: the same runs, with one thread each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from trainer_cases import QUICK, Stopped, replica, run

from thinwire.cli.train_screen import no_bar
from thinwire.lab.one_thread import one_thread
from thinwire.lab.training.checkpoint import Saved, newest
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.simulated import simulate
from thinwire.lab.training.trainer import Seen
from thinwire.lab.training.worker import Work

Settings = dict[str, Any]
CLOCKED = ("wall_s", "forward_s", "backward_s", "encode_s", "exposed_s", "update_s")


def simulated(settings: Settings, out: Path, resume: bool = False, until: int | None = None) -> None:
    """Run in this process; until after a step, where that is given."""

    def on_step(seen: Seen) -> None:
        if seen.step == until:
            raise Stopped

    class Watch:
        __enter__ = staticmethod(lambda: on_step)
        __exit__ = staticmethod(lambda *error: None)

    with one_thread():
        simulate(Work(TrainConfig(**QUICK | settings, simulate=True), out, resume, no_bar if until is None else Watch))


def real(out: Path, world: int, settings: dict[str, Settings]) -> None:
    """Run all in as many processes, each below ``out``; one goes on from what is there, if anything is."""
    mp.spawn(_worker, (out, world, settings), nprocs=world)


def _worker(rank: int, out: Path, world: int, settings: dict[str, Settings]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out}/store-{world}", rank=rank, world_size=world)
    for name, setting in settings.items():
        there = out / name if newest(out / name) else None
        dist.barrier()
        run(replica(TrainConfig(**QUICK | setting), there), out / name)
    dist.destroy_process_group()


def end(out: Path) -> Saved:
    saved = newest(out)
    assert saved is not None
    return saved


def differing(first: Saved, second: Saved) -> list[str]:
    """Return the names of tensors that two checkpoints do not hold bit for bit alike."""
    pairs = [(first.shared(), second.shared())]
    pairs += [(first.of_rank(rank), second.of_rank(rank)) for rank in range(first.world)]
    assert all(a.keys() == b.keys() for a, b in pairs)
    return [name for a, b in pairs for name in a if not torch.equal(a[name], b[name])]


def untimed(records: dict[str, Any]) -> dict[str, Any]:
    """Return what was recorded, but for times."""
    epochs = [{key: x for key, x in row.items() if key not in CLOCKED} for row in records["epochs"]]
    return {"steps": {key: x for key, x in records["steps"].items() if key not in CLOCKED}, "epochs": epochs}
