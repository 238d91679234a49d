"""One worker's copy of a run: the model, what averages its gradients, the optimizer, and how far all that is."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from thinwire.codec import State
from thinwire.lab.training import states
from thinwire.lab.training.averaging import averaging
from thinwire.lab.training.checkpoint import Saved, Writer
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.data.base import Batch, Dataset
from thinwire.lab.training.data.batches import Batches
from thinwire.lab.training.evaluate import average_buffers, loss_of
from thinwire.lab.training.frames import below, under
from thinwire.lab.training.local import prepare
from thinwire.lab.training.position import Position
from thinwire.lab.training.records import Records
from thinwire.lab.training.usual import optimizer

_NAMES = inspect.signature(DistributedDataParallel.__init__).parameters
_SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers"
"""By the version of torch: the older name is deprecated in the newer one."""


class Replica:
    """One worker's, in a process group that is there. All workers call the same methods in the same order."""

    def __init__(self, config: TrainConfig, dataset: Dataset, model: nn.Module, device: torch.device) -> None:
        self.config, self.dataset, self.device = config, dataset, device
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.batches = Batches(
            dataset.train, config.batch_size, config.seed, config.augment, rank=self.rank, world=self.world
        )
        self.step_rows = config.batch_size * self.world
        self.model = model.to(device)
        # Statistics of batch norm stay each worker's own until somebody looks: to send them is no part of a step.
        own_buffers: dict[str, Any] = {_SYNC_BUFFERS: False}
        self.ddp = DistributedDataParallel(
            self.model, device_ids=[device] if device.type == "cuda" else None, **own_buffers
        )
        self.position, self.records = Position(), Records()
        states.into_generators(states.seeded_generators(config.seed, f"worker {self.rank}", device), device)

    def begin(self, saved: Saved | None) -> None:
        """Attach the method and make the optimizer; go on from a checkpoint, if given.

        Raises ValueError for a damaged one.
        """
        if saved is not None:
            self._settle()
        self._attach()
        if saved is not None:
            self._restore(saved)

    def _attach(self) -> None:
        config, method = self.config, self.config.method
        decay, corrects = config.chosen("weight_decay"), method.corrects_momentum
        if method.compressor is not None:
            # The mean of N independent gradients has a norm of one of them over sqrt(N) (Lin et al. 2018, for sums).
            clip = config.clip_norm and config.clip_norm * math.sqrt(self.world)
            prepare(self.model.parameters(), clip, decay if corrects else 0.0)
        self.averaging = averaging(self.ddp, method, config.use_pipeline, config.seed)
        momentum = 0.0 if corrects else config.chosen("momentum")
        name, lr, rest = config.chosen("optimizer"), config.chosen("lr"), 0.0 if corrects else decay
        self.optimizer = optimizer(name, self.model.parameters(), lr, momentum, rest)

    def _settle(self) -> None:
        """Run one backward that changes nothing but DDP's buckets.

        DDP makes them anew after the first step; a run that goes on must have those of a run that never stopped, since
        a ring adds in an order that depends on them.
        """
        self.model.eval()
        inputs, targets = self.batch(Position())
        loss_of(self.ddp(inputs), targets).backward()  # type: ignore[no-untyped-call]
        self.ddp.zero_grad(set_to_none=True)

    def _restore(self, saved: Saved) -> None:
        shared, same = saved.shared(), saved.world == self.world
        states.put(under("model", shared), self.model)
        states.into_optimizer(under("optimizer", shared), self.optimizer)
        own = {rank: saved.of_rank(rank) for rank in ([self.rank] if same else range(saved.world))}
        self.averaging.load([under("averaging", state) for state in own.values()])
        self.position = saved.position.settled(self.step_rows, len(self.batches))
        self.records = Records.of(saved.records)
        if same:
            states.into_generators(under("generators", own[self.rank]), self.device)
        else:
            name = f"worker {self.rank} of {self.world} from step {self.position.step}"
            states.into_generators(states.seeded_generators(self.config.seed, name, self.device), self.device)

    @property
    def steps(self) -> int:
        """How many steps the whole run has."""
        config = self.config
        return self.position.all_steps(self.step_rows, len(self.batches), config.epochs, config.steps)

    def batch(self, at: Position) -> Batch:
        """Return this worker's batch of the step that starts at a position."""
        inputs, targets = self.batches.at(at.epoch, at.begun(self.step_rows))
        return inputs.to(self.device), targets.to(self.device)

    def advance(self) -> None:
        """Note that a step is done."""
        self.position = self.position.after_step(self.step_rows, len(self.batches))

    def save(self, writer: Writer) -> None:
        """Write a checkpoint, all workers together."""
        average_buffers(self.model)
        self.records.gather()
        shared = below("model", self.model.state_dict()) | below("optimizer", states.of_optimizer(self.optimizer))
        generators = below("generators", states.of_generators(self.device))
        own: State = generators | below("averaging", self.averaging.state_dict())
        writer.write(self.position, self.config.described(), self.records.saved(), shared, own)
