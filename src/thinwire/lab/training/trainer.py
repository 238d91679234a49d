"""The training loop of one worker."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from thinwire.lab.diverged import Diverged
from thinwire.lab.training.checkpoint import Writer
from thinwire.lab.training.dense import Cost
from thinwire.lab.training.evaluate import METRICS, average_buffers, evaluate, loss_of
from thinwire.lab.training.records import StepRow
from thinwire.lab.training.replica import Replica
from thinwire.lab.training.schedule import share


@dataclass(frozen=True)
class Seen:
    """What a run shows of a step: the first worker's loss, and the bytes that it sent so far."""

    step: int
    steps: int
    epoch: int
    loss: float
    sent_bytes: int
    dense_bytes: int


OnStep = Callable[[Seen], None]


class Trainer:
    """Takes a replica through its run. All workers call ``run``."""

    def __init__(self, replica: Replica) -> None:
        self.replica, self.config = replica, replica.config
        self._sent = [0, 0]

    def run(self, writer: Writer, on_step: OnStep, on_epoch: Callable[[], object]) -> None:
        """Train to the end: evaluation and checkpoint at every epoch's end. Raises Diverged."""
        replica, steps = self.replica, self.replica.steps
        if replica.position.step >= steps:
            # A run that was killed between its last checkpoint and its result has the one and not the other.
            on_epoch()
        while replica.position.step < steps:
            self._epoch(steps, writer, on_step)
            on_epoch()

    def _epoch(self, steps: int, writer: Writer, on_step: OnStep) -> None:
        replica, every = self.replica, self.config.checkpoint_steps
        epoch, recorded = replica.position.epoch, replica.records.closed_steps
        replica.model.train()
        while replica.position.step < steps and replica.position.epoch == epoch:
            on_step(self._step(steps))
            if every and replica.position.step % every == 0 and replica.position.epoch == epoch:
                replica.save(writer)
        self._evaluate(epoch, recorded)
        replica.save(writer)

    def _step(self, steps: int) -> Seen:
        """Take one step: forward and backward, which averages, and update, with a clock between them."""
        replica, at, clock = self.replica, self.replica.position, [self._now()]
        lr = self._set_lr(at.step, steps)
        loss = self._loss()
        value = self._checked(loss.item(), at.step, lr)
        clock.append(self._now())
        loss.backward()  # type: ignore[no-untyped-call]
        clock.append(self._now())
        cost = replica.averaging.cost()
        self._update()
        clock.append(self._now())
        replica.records.add(_row(value, cost, clock))
        replica.advance()
        self._sent = [self._sent[0] + cost.sent_bytes, self._sent[1] + cost.dense_bytes]
        return Seen(replica.position.step, steps, at.epoch, value, *self._sent)

    def _loss(self) -> Tensor:
        inputs, targets = self.replica.batch(self.replica.position)
        with torch.autocast(self.replica.device.type, torch.bfloat16, enabled=self.config.amp):
            return loss_of(self.replica.ddp(inputs), targets)

    def _update(self) -> None:
        if self.config.clip_norm and self.config.method.compressor is None:
            nn.utils.clip_grad_norm_(self.replica.model.parameters(), self.config.clip_norm)
        self.replica.optimizer.step()
        self.replica.optimizer.zero_grad(set_to_none=True)

    def _set_lr(self, step: int, steps: int) -> float:
        warmup = round(self.config.warmup * len(self.replica.batches))
        lr: float = self.config.chosen("lr") * share(self.config.schedule, step, steps, warmup)
        for group in self.replica.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _checked(self, loss: float, step: int, lr: float) -> float:
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss of worker {self.replica.rank} is {loss} at step {step + 1}, learning rate {lr:.3g}: try a "
                "smaller learning rate, a longer warm-up, or to clip the gradient's norm"
            )
        return loss

    def _evaluate(self, epoch: int, recorded: int) -> None:
        replica = self.replica
        average_buffers(replica.model)
        metric, loss = evaluate(replica.model, replica.dataset, replica.device)
        replica.records.gather()
        lr = replica.optimizer.param_groups[0]["lr"]
        replica.records.close_epoch(epoch + 1, recorded, lr, METRICS[replica.dataset.kind][0], metric, loss)

    def _now(self) -> float:
        if self.replica.device.type == "cuda":
            torch.cuda.synchronize(self.replica.device)
        return time.perf_counter()


def _row(loss: float, cost: Cost, clock: list[float]) -> StepRow:
    forward, backward, update = (b - a for a, b in pairwise(clock))
    inside = max(0.0, backward - cost.exposed_s)
    return StepRow(loss, cost.sent_bytes, cost.dense_bytes, forward, inside, cost.encode_s, cost.exposed_s, update)
