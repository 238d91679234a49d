"""One rank's forward and backward, with a clock between them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import nn

from thinwire.lab.diverged import Diverged
from thinwire.lab.training.dense import Cost
from thinwire.lab.training.evaluate import loss_of
from thinwire.lab.training.records import StepRow
from thinwire.lab.training.replica import Replica


@dataclass(frozen=True)
class Pass:
    """The loss of one rank's batch, and seconds of wall-clock time."""

    loss: float
    forward_s: float
    backward_s: float
    """With what backward waited for, if it did."""

    def row(self, cost: Cost) -> StepRow:
        """Return it as a row of the records, with what averaging cost; the update is still to come."""
        inside, counts = max(0.0, self.backward_s - cost.exposed_s), cost.selected
        spent = (self.forward_s, inside, cost.encode_s, cost.exposed_s, 0.0)
        return StepRow(self.loss, cost.sent_bytes, cost.dense_bytes, counts.kept, counts.wanted, *spent)


def passed(replica: Replica, net: nn.Module, rank: int) -> Pass:
    """Run ``net``, which is the replica's model or around it, on a rank's batch of the step that is due, and back."""
    clock = [now(replica.device)]
    inputs, targets = replica.batch(rank, replica.position)
    with torch.autocast(replica.device.type, torch.bfloat16, enabled=replica.config.amp):
        loss = loss_of(net(inputs), targets)
    value = _checked(loss.item(), replica, rank)
    replica.averaging.note(rank, value)
    clock.append(now(replica.device))
    loss.backward()  # type: ignore[no-untyped-call]
    clock.append(now(replica.device))
    return Pass(value, clock[1] - clock[0], clock[2] - clock[1])


def _checked(loss: float, replica: Replica, rank: int) -> float:
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss of worker {rank} is {loss} at step {replica.position.step + 1}, learning rate "
            f"{replica.optimizer.param_groups[0]['lr']:.3g}: try a smaller learning rate, a longer warm-up, or to clip "
            "the gradient's norm"
        )
    return loss


def now(device: torch.device) -> float:
    """Return the time once all that was begun on a device is done, in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
