"""All ranks of a run in one process, one after the other: replicas are identical, so that one model stands for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from thinwire.codec import State
from thinwire.lab.training import states
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.data.base import Dataset
from thinwire.lab.training.evaluate import mean_buffers
from thinwire.lab.training.passes import Pass, passed
from thinwire.lab.training.records import StepRow
from thinwire.lab.training.replica import Replica
from thinwire.lab.training.together import together


class AllRanks(Replica):
    """Every rank's batches, buffers, random generators and memory of what was not sent; in a group of one process."""

    def __init__(self, config: TrainConfig, dataset: Dataset, model: nn.Module, device: torch.device) -> None:
        self._generators: list[State] = []
        super().__init__(config, dataset, model, device, range(config.workers), config.workers)

    def begun(self) -> None:
        """Give every rank the model's buffers."""
        self._buffers = self._same_buffers()

    def attach(self) -> None:
        """Register what only watches: how the model's parameters come in buckets."""
        self.averaging = self._together = together(
            self.ddp, self.config.method, self.world, self.config.seed, self.config.use_pipeline
        )

    def gradients(self) -> list[StepRow]:
        """Run every rank's forward and backward, then average."""
        passes, gradients = list[Pass](), list[dict[str, Tensor]]()
        for rank in self.ranks:
            with self._being(rank):
                # The first goes through DDP, whose buckets are those of a run with processes: bytes depend on them.
                passes.append(passed(self, self.model if rank else self.ddp, rank))
            gradients.append(self._taken())
        means, costs = self._together.average(gradients)
        for name, parameter in self.model.named_parameters():
            if name in means:
                parameter.grad = torch.empty_like(parameter).copy_(means[name])
        return [done.row(cost) for done, cost in zip(passes, costs, strict=True)]

    def average_buffers(self) -> None:
        """Leave the mean in the model, and so with every rank."""
        mean_buffers(self.model, self._buffers)
        self._buffers = self._same_buffers()

    def generators(self) -> list[State]:
        """Return all ranks'."""
        return self._generators

    def put_generators(self, given: Sequence[State]) -> None:
        """Put all ranks' back."""
        self._generators = list(given)

    @contextmanager
    def _being(self, rank: int) -> Iterator[None]:
        """Let a rank's buffers and generators be the model's and the process's."""
        for buffer, own in zip(self.model.buffers(), self._buffers[rank], strict=True):
            buffer.copy_(own)
        states.into_generators(self._generators[rank], self.device)
        yield
        self._generators[rank] = states.of_generators(self.device)
        self._buffers[rank] = [buffer.clone() for buffer in self.model.buffers()]

    def _same_buffers(self) -> list[list[Tensor]]:
        return [[buffer.clone() for buffer in self.model.buffers()] for _ in self.ranks]

    def _taken(self) -> dict[str, Tensor]:
        """Return the gradients, on the CPU, and leave the model without."""
        own = {name: x.grad.cpu() for name, x in self.model.named_parameters() if x.grad is not None}
        self.model.zero_grad(set_to_none=True)
        return own
