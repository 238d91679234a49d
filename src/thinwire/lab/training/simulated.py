"""A run whose workers are all in one process: for quick studies of methods, and on machines with few cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from thinwire.lab.models.catalogue import find
from thinwire.lab.training.all_ranks import AllRanks
from thinwire.lab.training.begin import begin
from thinwire.lab.training.checkpoint import Writer, newest
from thinwire.lab.training.meeting import loopback_only
from thinwire.lab.training.prepared import read
from thinwire.lab.training.worker import Work, train


def simulate(told: Work) -> None:
    """Train as the config's number of workers would, to the same parameters, bytes, results and checkpoints.

    The bits are those of workers that compute with as many threads as torch now does; of ``none`` with more than two,
    a sum's last bits differ. torch's global generator is left as it was. Raises what a worker would: Diverged,
    NonFiniteError, ValueError for a damaged checkpoint, OSError.
    """
    device = torch.device("cuda", 0) if told.config.cuda else torch.device("cpu")
    with _on_loopback():
        dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        with torch.random.fork_rng([device] if told.config.cuda else []):
            _simulate(told, device)
    finally:
        dist.destroy_process_group()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have gloo, which listens also where there is no other rank, do so on loopback only."""
    before = {name: os.environ.get(name) for name in loopback_only()}
    os.environ.update(loopback_only())
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _simulate(told: Work, device: torch.device) -> None:
    config, dataset = told.config, read(told.config)
    model = find(config.model).build(dataset.outputs, config.seed, **dataset.options)
    replica = AllRanks(config, dataset, model, device)
    begin(replica, newest(told.out) if told.resume else None)
    train(told, replica, Writer(told.out, 0, config.workers, lambda: None))
