"""Real processes, one a rank, that stay up and run one case after the other: starting them is what takes long."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

WAIT_S = 90
"""No case may take longer, a start included: a hang fails its test."""


@dataclass(frozen=True)
class Raised:
    """The error that a rank's case ended with."""

    kind: str
    text: str
    where: str


class Ranks:
    """``world`` processes, joined by gloo. A case is a module's function ``case(group, *args)``, run on each."""

    def __init__(self, world: int, timeout_s: float = 60) -> None:
        self._folder = tempfile.TemporaryDirectory()
        context = mp.get_context("spawn")
        pipes = [context.Pipe() for _ in range(world)]
        store = str(Path(self._folder.name) / "store")
        args = [(rank, world, store, timeout_s, theirs) for rank, (_, theirs) in enumerate(pipes)]
        self.processes = [context.Process(target=_serve, args=each, daemon=True) for each in args]
        self._pipes = [ours for ours, _ in pipes]
        for process in self.processes:
            process.start()

    def start(self, case: Callable[..., Any], *args: object, world: int | None = None) -> list[Connection]:
        """Have the first ``world`` ranks run a case."""
        used = self._pipes[: world or len(self._pipes)]
        for pipe in used:
            pipe.send((case, args, len(used)))
        return used

    def run(
        self, case: Callable[..., Any], *args: object, world: int | None = None, wait_s: float = WAIT_S
    ) -> list[Any]:
        """Return what a case returned, or ``Raised``, by rank."""
        return [answer(pipe, wait_s) for pipe in self.start(case, *args, world=world)]

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.kill()
            process.join()
        self._folder.cleanup()


def answer(pipe: Connection, wait_s: float = WAIT_S) -> Any:
    assert pipe.poll(wait_s), "a rank hangs"
    return pipe.recv()


def _serve(rank: int, world: int, store: str, timeout_s: float, pipe: Connection) -> None:
    torch.set_num_threads(1)
    timeout = timedelta(seconds=timeout_s)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timeout)
    groups = {size: dist.new_group(list(range(size)), timeout) for size in range(1, world + 1)}
    parent = os.getppid()
    while os.getppid() == parent:
        if pipe.poll(1):
            case, args, size = pipe.recv()
            try:
                pipe.send(case(groups[size], *args))
            except Exception as error:
                pipe.send(Raised(type(error).__name__, str(error), traceback.format_exc()))
