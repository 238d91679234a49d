"""What averages gradients during backward, and what that cost: one of three ways, read alike."""

from __future__ import annotations

from typing import Protocol

from torch.nn.parallel import DistributedDataParallel

from thinwire.codec import State
from thinwire.ddp import GradientCompression, LinkSpeed, Worth, compress_gradients
from thinwire.lab.training.dense import Cost, Dense
from thinwire.lab.training.method import DENSE, Method
from thinwire.lab.training.stock import Stock


class Remembering(Protocol):
    """What an averaging of gradients takes along from step to step, for one rank or for all."""

    def state_dicts(self) -> list[State]:
        """Return what a checkpoint needs of each rank that it averages for."""
        ...

    def load(self, states: list[State]) -> None:
        """Go on from what the same ranks saved or, where their number is another now, all ranks did."""
        ...

    def note(self, rank: int, loss: float) -> None:
        """Take the loss of a rank's batch, before its backward: policies may follow it."""
        ...

    def exchanges(self) -> dict[str, str]:
        """Return how each parameter was averaged at the last step, where there is a choice."""
        ...

    @property
    def link(self) -> LinkSpeed | None:
        """How fast the link is, where that was measured."""
        ...

    def worth(self) -> Worth | None:
        """Return what compression buys on the link, where it was measured and steps were taken."""
        ...


class Averaging(Remembering, Protocol):
    """One way to average the gradients of one rank with those of the others, in place on a model."""

    def cost(self) -> Cost:
        """Return what the step's backward, which has just ended, cost."""
        ...


def averaging(model: DistributedDataParallel, method: Method, use_pipeline: bool, seed: int) -> Averaging:
    """Return the averaging of a method, attached to ``model``."""
    if method.compressor is not None:
        made = compress_gradients(model, method.compressor, use_pipeline=use_pipeline, seed=seed, probe=True)
        return Compressed(made)
    return Dense(model) if method.text == DENSE else Stock(model, method.text)


class Compressed:
    """thinwire's own hook."""

    def __init__(self, compression: GradientCompression) -> None:
        self._compression = compression

    def cost(self) -> Cost:
        """Return the hook's own report."""
        last = self._compression.last
        assert last is not None, "a backward has ended"
        return Cost(last.sent_bytes, round(last.allreduce_bytes), last.encode_s, last.exposed_s, last.selected)

    def state_dicts(self) -> list[State]:
        """Return residuals, histories and the step."""
        return [self._compression.state_dict()]

    def load(self, states: list[State]) -> None:
        """Go on."""
        self._compression.load_state_dict(states)

    def note(self, rank: int, loss: float) -> None:
        """Hand it on."""
        self._compression.note(loss=loss)

    def exchanges(self) -> dict[str, str]:
        """Return the names of the choices."""
        last = self._compression.last
        return {name: choice.name for name, choice in last.exchanges.items()} if last else {}

    @property
    def link(self) -> LinkSpeed | None:
        """What was measured before training; None for one worker."""
        return self._compression.link

    def worth(self) -> Worth | None:
        """Return what the first worker's last steps say."""
        return self._compression.worth() if self.link and self._compression.steps else None
