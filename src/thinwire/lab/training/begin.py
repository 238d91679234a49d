"""How a run begins or goes on: the method is attached, the optimizer made, and what a checkpoint holds put back."""

from __future__ import annotations

import math

from thinwire.lab.training import states
from thinwire.lab.training.checkpoint import Saved
from thinwire.lab.training.evaluate import loss_of
from thinwire.lab.training.frames import under
from thinwire.lab.training.local import prepare
from thinwire.lab.training.position import Position
from thinwire.lab.training.records import Records
from thinwire.lab.training.replica import Replica
from thinwire.lab.training.usual import optimizer


def begin(replica: Replica, saved: Saved | None) -> None:
    """Make a replica ready to train; go on from a checkpoint, if given. Raises ValueError for a damaged one."""
    if saved is not None:
        _settle(replica)
    _prepare(replica)
    if saved is not None:
        _restore(replica, saved)
    replica.begun()


def _prepare(replica: Replica) -> None:
    config, method, parameters = replica.config, replica.config.method, list(replica.model.parameters())
    decay, corrects = config.chosen("weight_decay"), method.corrects_momentum
    if method.compressor is not None:
        # The mean of N independent gradients has a norm of one of them over sqrt(N) (Lin et al. 2018, for sums).
        clip = config.clip_norm and config.clip_norm * math.sqrt(replica.world)
        prepare(parameters, clip, decay if corrects else 0.0)
    replica.attach()
    momentum = 0.0 if corrects else config.chosen("momentum")
    name, lr, rest = config.chosen("optimizer"), config.chosen("lr"), 0.0 if corrects else decay
    replica.optimizer = optimizer(name, parameters, lr, momentum, rest)


def _settle(replica: Replica) -> None:
    """Run one backward that changes nothing but DDP's buckets.

    DDP makes them anew after the first step; a run that goes on must have those of a run that never stopped, since
    a ring adds in an order that depends on them.
    """
    replica.model.eval()
    inputs, targets = replica.batch(replica.rank, Position())
    loss_of(replica.ddp(inputs), targets).backward()  # type: ignore[no-untyped-call]
    replica.ddp.zero_grad(set_to_none=True)


def _restore(replica: Replica, saved: Saved) -> None:
    shared, same = saved.shared(), saved.world == replica.world
    states.put(under("model", shared), replica.model)
    states.into_optimizer(under("optimizer", shared), replica.optimizer)
    own = [saved.of_rank(rank) for rank in (replica.ranks if same else range(saved.world))]
    replica.averaging.load([under("averaging", state) for state in own])
    replica.position = saved.position.settled(replica.step_rows, replica.epoch_steps)
    replica.records = Records.of(saved.records)
    anew = f" of {replica.world} from step {replica.position.step}"
    replica.put_generators([under("generators", state) for state in own] if same else replica.seeded(anew))
