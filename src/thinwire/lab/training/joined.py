"""Workers that were started from outside, on one machine or several: torchrun's environment, and whether all agree."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from thinwire.files import create, swept
from thinwire.lab.training.checkpoint import Saved, newest

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """A worker's place: among all workers, and among those of its machine."""

    rank: int
    world: int
    local_rank: int
    local_world: int

    def check(self, workers: int | None, gpus: int | None) -> None:
        """Raise ValueError where what was asked for is not how many workers were started."""
        if workers not in (None, self.world):
            raise ValueError(f"--workers is {workers}, but {self.world} were started (WORLD_SIZE); leave it out")
        if gpus not in (None, 0, self.local_world):
            raise ValueError(f"--gpus is {gpus}, but {self.local_world} workers were started on this machine")


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Return this process's place among workers that torchrun, or what does as it does, started; None: nobody did.

    Raises ValueError for an environment that says only half of it, or what cannot be.
    """
    if not {"RANK", "WORLD_SIZE"} & set(environment):
        return None
    if lacking := [name for name in NAMES if name not in environment]:
        raise ValueError(f"{_there(environment)} set, as torchrun does, but not {', '.join(lacking)}")
    rank, world, local_rank, local_world = (_number(name, environment[name]) for name in NAMES[:4])
    if not (rank < world and local_rank < local_world <= world):
        raise ValueError(f"RANK {rank} of {world}, LOCAL_RANK {local_rank} of {local_world}: there is no such worker")
    return Place(rank, world, local_rank, local_world)


def _there(environment: Mapping[str, str]) -> str:
    there = [name for name in NAMES if name in environment]
    return f"{', '.join(there)} {'is' if len(there) == 1 else 'are'}"


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{name} is {text!r}, expected a whole number")
    return int(text)


def agree(terms: Mapping[str, Any]) -> None:
    """Raise ValueError on all workers, the first difference named, unless all were given the same; JSON-able."""
    own = json.dumps(terms, sort_keys=True)
    first = json.loads(_of_first(own))
    different = [name for name in sorted({*terms, *first}) if terms.get(name) != first.get(name)]
    worst = torch.tensor(dist.get_rank() if different else 0)
    dist.all_reduce(worst, dist.ReduceOp.MAX)
    if different:
        name = different[0]
        raise ValueError(f"{name} is {terms.get(name)!r} here and {first.get(name)!r} on worker 0; start all alike")
    if worst:
        raise ValueError(f"worker {int(worst)} was started with other settings than worker 0; start all alike")


def _of_first(text: str) -> str:
    """Return the first worker's text."""
    data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    length = torch.tensor(len(data))
    dist.broadcast(length, 0)
    data = data if dist.get_rank() == 0 else torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(data, 0)
    return data.numpy().tobytes().decode()


def leads(out: Path) -> bool:
    """Return whether this worker writes what its folder holds once: the first that sees the folder; all call it.

    Machines that share no folder hold a checkpoint each: what is the same on all workers, and their own workers' parts.
    """
    number = torch.tensor(uuid.uuid4().int >> 66)
    dist.broadcast(number, 0)
    mark, first = out / f".first-{int(number)}", dist.get_rank() == 0
    with swept(mark) if first else nullcontext():
        if first:
            create(mark).close()
        dist.barrier()
        seen = mark.exists()
        dist.barrier()
    return first or (not seen and int(os.environ["LOCAL_RANK"]) == 0)


def common(out: Path) -> Saved | None:
    """Return the newest checkpoint that all workers have; all call it. Raises ValueError where only some have one."""
    own = newest(out)
    steps = torch.tensor([own.position.step, -own.position.step] if own else [0, 0])
    dist.all_reduce(steps, dist.ReduceOp.MIN)
    least, most = int(steps[0]), -int(steps[1])
    found = newest(out, least) if least else None
    agreed = torch.tensor(int(found.position.step == least if found else not most))
    dist.all_reduce(agreed, dist.ReduceOp.MIN)
    if not agreed:
        raise ValueError(
            f"not all workers have a checkpoint of step {least or most} in --out; copy it there, or --fresh"
        )
    return found
