"""Gradients of all ranks averaged in one process, as hooks in as many processes would."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from thinwire.codec import Spec, State
from thinwire.ddp.lanes import LANES
from thinwire.ddp.simulated import SimulatedCompression
from thinwire.lab.training.averaging import Remembering
from thinwire.lab.training.buckets import Buckets
from thinwire.lab.training.dense import Cost, ring_bytes
from thinwire.lab.training.method import Method

Gradients = dict[str, Tensor]


class Together(Remembering, Protocol):
    """One way to average the gradients of all ranks."""

    def average(self, per_rank: Sequence[Gradients]) -> tuple[Gradients, list[Cost]]:
        """Return the means of name -> gradient on the CPU, and what they cost each rank: nothing waits here."""
        ...


def together(model: DistributedDataParallel, method: Method, world: int, seed: int, use_pipeline: bool) -> Together:
    """Return the averaging of a method over ``world`` simulated ranks; ``model`` is seen backward for the first one.

    A pipeline is not simulated, but its lanes' bytes are.
    """
    if method.compressor is None:
        return DenseTogether(world)
    specs = {name: Spec.of(x) for name, x in model.module.named_parameters() if x.requires_grad}
    lanes = LANES if use_pipeline else 1
    simulated = SimulatedCompression(specs, method.compressor, world, seed, lanes)
    return CompressedTogether(simulated, Buckets(model), world)


class _Offline:
    """There is no link."""

    @property
    def link(self) -> None:
        """Nothing is measured."""

    def worth(self) -> None:
        """Return nothing: a step's time says nothing of a run with workers."""


class DenseTogether(_Offline):
    """The mean. With more than two ranks, a ring adds in another order: the last bits differ from a real run's."""

    def __init__(self, world: int) -> None:
        self._world = world

    def average(self, per_rank: Sequence[Gradients]) -> tuple[Gradients, list[Cost]]:
        """Count rings."""
        means = {name: self._mean([given[name] for given in per_rank]) for name in per_rank[0]}
        ring = ring_bytes(_nbytes(per_rank[0]), self._world)
        return means, [Cost(ring, ring, 0.0, 0.0)] * self._world

    def _mean(self, ranks: Sequence[Tensor]) -> Tensor:
        """Divide before adding, as DistributedDataParallel does."""
        return reduce(torch.add, (x * (1.0 / self._world) for x in ranks))

    def state_dicts(self) -> list[State]:
        """Return nothing of each: a mean remembers nothing."""
        return [{} for _ in range(self._world)]

    def load(self, states: list[State]) -> None:
        """Take nothing."""

    def note(self, rank: int, loss: float) -> None:
        """Look at nothing."""

    def exchanges(self) -> dict[str, str]:
        """Return nothing: there is no choice."""
        return {}


class CompressedTogether(_Offline):
    """What thinwire's own hook does, for all ranks in lock-step."""

    def __init__(self, compression: SimulatedCompression, buckets: Buckets, world: int) -> None:
        self._compression, self._buckets, self._world = compression, buckets, world
        self._exchanges: dict[str, str] = {}

    def average(self, per_rank: Sequence[Gradients]) -> tuple[Gradients, list[Cost]]:
        """Average the buckets that backward just had. Encoding is counted, waiting is not."""
        done = self._compression.average(per_rank, self._buckets.names)
        self._exchanges = {name: choice.name for name, choice in done.choices.items()}
        dense = ring_bytes(_nbytes(per_rank[0]), self._world)
        pairs = zip(done.sent_bytes, done.selected, strict=True)
        return done.means, [Cost(sent, dense, done.encode_s, 0.0, counts) for sent, counts in pairs]

    def state_dicts(self) -> list[State]:
        """Return each rank's residuals, histories and step."""
        return [self._compression.state_dict(rank) for rank in range(self._world)]

    def load(self, states: list[State]) -> None:
        """Go on."""
        self._compression.load_state_dict(states)

    def note(self, rank: int, loss: float) -> None:
        """Hand it on."""
        self._compression.note(rank, loss)

    def exchanges(self) -> dict[str, str]:
        """Return the names of the choices."""
        return self._exchanges


def _nbytes(gradients: Gradients) -> int:
    return sum(x.numel() * x.dtype.itemsize for x in gradients.values())
