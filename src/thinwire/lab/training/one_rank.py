"""One worker's replica: it trains with the others of its process group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from thinwire.codec import State
from thinwire.lab.training import states
from thinwire.lab.training.averaging import averaging
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.data.base import Dataset
from thinwire.lab.training.evaluate import average_buffers
from thinwire.lab.training.passes import passed
from thinwire.lab.training.records import StepRow
from thinwire.lab.training.replica import Replica


class OneRank(Replica):
    """The rank that this process is: gradients are averaged within backward, by a hook of DistributedDataParallel."""

    def __init__(self, config: TrainConfig, dataset: Dataset, model: nn.Module, device: torch.device) -> None:
        rank = dist.get_rank()
        super().__init__(config, dataset, model, device, range(rank, rank + 1), dist.get_world_size())

    def attach(self) -> None:
        """Register the hook."""
        self.averaging = self._hook = averaging(
            self.ddp, self.config.method, self.config.use_pipeline, self.config.seed
        )

    def begun(self) -> None:
        """Do nothing: the model is this rank's own."""

    def gradients(self) -> list[StepRow]:
        """Run forward and backward."""
        done = passed(self, self.ddp, self.rank)
        return [done.row(self._hook.cost())]

    def average_buffers(self) -> None:
        """Ask the others."""
        average_buffers(self.model)

    def generators(self) -> list[State]:
        """Return this process's."""
        return [states.of_generators(self.device)]

    def put_generators(self, given: Sequence[State]) -> None:
        """Put this process's back."""
        states.into_generators(given[0], self.device)
