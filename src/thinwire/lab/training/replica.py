"""A run's model, what averages its gradients, the optimizer, and how far all that is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from thinwire.codec import State
from thinwire.lab.training import states
from thinwire.lab.training.averaging import Remembering
from thinwire.lab.training.checkpoint import Writer
from thinwire.lab.training.compared import TORCH_POWERSGD
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.data.base import Batch, Dataset
from thinwire.lab.training.data.batches import Batches
from thinwire.lab.training.frames import below
from thinwire.lab.training.parallel import ONE_BUCKET_MB, SMALL_BUCKETS_MB, USUAL_BUCKETS_MB, parallel
from thinwire.lab.training.position import Position
from thinwire.lab.training.records import Records, StepRow


class Replica(ABC):
    """The model of one rank (``OneRank``) or of all (``AllRanks``), in a process group that is there.

    All processes of the run call the same methods in the same order; ``begin`` comes first.
    """

    averaging: Remembering
    optimizer: torch.optim.Optimizer

    def __init__(
        self, config: TrainConfig, dataset: Dataset, model: nn.Module, device: torch.device, ranks: range, world: int
    ) -> None:
        self.config, self.dataset, self.device = config, dataset, device
        self.ranks, self.world = ranks, world
        one = Batches(dataset.train, config.batch_size, config.seed, config.augment, world=world)
        self.batches = {rank: one.shard(rank, world) for rank in ranks}
        self.epoch_steps, self.step_rows = len(one), config.batch_size * world
        self.model = model.to(device)
        self.ddp = parallel(self.model, device, _bucket_mb(config))
        self.position, self.records = Position(), Records()
        self.put_generators(self.seeded())

    @abstractmethod
    def attach(self) -> None:
        """Make ``averaging``; from now on ``gradients`` gives means."""

    @abstractmethod
    def gradients(self) -> list[StepRow]:
        """Leave the mean gradients of the step that is due in the model; return a row a rank. Raises Diverged."""

    @abstractmethod
    def begun(self) -> None:
        """Note that the model is as the first step finds it."""

    @abstractmethod
    def average_buffers(self) -> None:
        """Replace float buffers, such as the running statistics of batch norm, by their mean over all ranks."""

    @abstractmethod
    def generators(self) -> list[State]:
        """Return the states of the ranks' random generators."""

    @abstractmethod
    def put_generators(self, given: Sequence[State]) -> None:
        """Put them back."""

    def seeded(self, where: str = "") -> list[State]:
        """Return fresh states of the ranks' random generators, for a place in the run."""
        names = [f"worker {rank}{where}" for rank in self.ranks]
        return [states.seeded_generators(self.config.seed, name, self.device) for name in names]

    @property
    def rank(self) -> int:
        """The first of the ranks."""
        return self.ranks[0]

    @property
    def steps(self) -> int:
        """How many steps the whole run has."""
        config = self.config
        return self.position.all_steps(self.step_rows, self.epoch_steps, config.epochs, config.steps)

    def batch(self, rank: int, at: Position) -> Batch:
        """Return a rank's batch of the step that starts at a position."""
        inputs, targets = self.batches[rank].at(at.epoch, at.begun(self.step_rows))
        return inputs.to(self.device), targets.to(self.device)

    def advance(self) -> None:
        """Note that a step is done."""
        self.position = self.position.after_step(self.step_rows, self.epoch_steps)

    def save(self, writer: Writer) -> None:
        """Write a checkpoint, all processes together."""
        self.average_buffers()
        self.records.gather(self.world)
        shared = below("model", self.model.state_dict()) | below("optimizer", states.of_optimizer(self.optimizer))
        pairs = zip(self.generators(), self.averaging.state_dicts(), strict=True)
        own = [below("generators", drawn) | below("averaging", kept) for drawn, kept in pairs]
        described = self.config.described()
        writer.write(self.position, described, self.records.saved(), shared, dict(zip(self.ranks, own, strict=True)))


def _bucket_mb(config: TrainConfig) -> float | None:
    """Return how large buckets should be, None for torch's usual ones."""
    if config.method.text == TORCH_POWERSGD:
        # It starts collectives where earlier ones end, in an order that with several buckets differs between ranks:
        # gloo then mixes them up, and the run dies.
        return ONE_BUCKET_MB
    if config.method.compressor is None:
        return None
    return SMALL_BUCKETS_MB if config.use_pipeline else USUAL_BUCKETS_MB
