"""The training loop of one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from thinwire.lab.training.checkpoint import Writer
from thinwire.lab.training.evaluate import METRICS, evaluate
from thinwire.lab.training.passes import now
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
    """Takes a replica through its run. All processes call ``run``."""

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
        """Take one step: the mean gradients, and the update."""
        replica, at = self.replica, self.replica.position
        self._set_lr(at.step, steps)
        rows = replica.gradients()
        averaged_s = now(replica.device)
        self._update()
        update_s = now(replica.device) - averaged_s
        replica.records.add([replace(row, update_s=update_s) for row in rows])
        replica.advance()
        self._sent = [self._sent[0] + rows[0].sent_bytes, self._sent[1] + rows[0].dense_bytes]
        return Seen(replica.position.step, steps, at.epoch, rows[0].loss, *self._sent)

    def _update(self) -> None:
        if self.config.clip_norm and self.config.method.compressor is None:
            nn.utils.clip_grad_norm_(self.replica.model.parameters(), self.config.clip_norm)
        self.replica.optimizer.step()
        self.replica.optimizer.zero_grad(set_to_none=True)

    def _set_lr(self, step: int, steps: int) -> None:
        warmup = round(self.config.warmup * self.replica.epoch_steps)
        lr: float = self.config.chosen("lr") * share(self.config.schedule, step, steps, warmup)
        for group in self.replica.optimizer.param_groups:
            group["lr"] = lr

    def _evaluate(self, epoch: int, recorded: int) -> None:
        replica = self.replica
        replica.average_buffers()
        metric, loss = evaluate(replica.model, replica.dataset, replica.device, replica.ranks, replica.world)
        replica.records.gather(replica.world)
        lr = replica.optimizer.param_groups[0]["lr"]
        replica.records.close_epoch(epoch + 1, recorded, lr, METRICS[replica.dataset.kind][0], metric, loss)
