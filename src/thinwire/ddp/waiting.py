"""Buckets that wait: for a lane or, at a step that has to be planned first, for all others of the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from torch import Tensor

from thinwire.collective import Carrier
from thinwire.ddp.average import Outcome
from thinwire.ddp.bucket import Turn
from thinwire.ddp.course import Course
from thinwire.ddp.staged import Staged
from thinwire.ddp.work import Done, work


@dataclass(frozen=True)
class Waiting:
    """A bucket by its number and the names in it; DDP waits for ``ready``."""

    number: int
    names: Sequence[str]
    staged: Staged
    turn: Turn
    ready: torch.futures.Future[Tensor]

    def work(
        self,
        average: Callable[[Turn, Mapping[str, Tensor], Carrier], Outcome | None],
        planning: Future[Course] | None,
        carrier: Carrier,
    ) -> Done:
        """Average the bucket in place once there is a plan or, for a reason that ``average`` then raises, none."""
        if planning:
            planning.exception()
        return work(self.staged, lambda gradients, own: average(self.turn, gradients, own), self.ready, carrier)
