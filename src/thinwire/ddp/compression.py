"""The hook: buckets come in as backward makes them, and go out averaged; a step counts once all its buckets did."""

# No postponed annotations here: torch compares the hook's with the classes themselves.

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from thinwire.codec import State
from thinwire.collective import TorchLink, carry
from thinwire.compressor import Compressor
from thinwire.ddp.bucket import Outcome, Turn, averaged
from thinwire.ddp.lanes import Lanes
from thinwire.ddp.report import StepReport, text
from thinwire.ddp.staged import Staged
from thinwire.ddp.state import Memory, loaded, saved
from thinwire.ddp.work import Done, work
from thinwire.errors import NonFiniteError
from thinwire.exchange import Place


class GradientCompression:
    """Averages the gradients of one DistributedDataParallel model, compressed. ``compress_gradients`` makes it.

    ``made``, ``lanes`` and ``nonfinite`` are as there; ``scale`` returns the loss scale of the step.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        made: Compressor,
        lanes: Lanes,
        scale: Callable[[], float],
        nonfinite: Literal["raise", "pass"],
        seed: int,
        pipelined: bool,
    ) -> None:
        self.made, self.nonfinite, self.seed, self.pipelined = made, nonfinite, seed, pipelined
        self.step = 0
        """Steps begun so far."""
        self.last: StepReport | None = None
        """What the newest step cost."""
        self.steps: list[StepReport] = []
        """What every step of this run cost."""
        self._lanes, self._scale = lanes, scale
        self._parameters = dict(parameters)
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._place = Place(lanes.links[0].rank, lanes.links[0].world)
        self._memory = Memory()
        self._running: list[Future[Done]] = []
        self._called_s: list[tuple[float, float]] = []
        self._counted = (0, 0)

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        return self._place.rank

    @property
    def world(self) -> int:
        """Number of ranks."""
        return self._place.world

    def state_dict(self) -> State:
        """Return what this rank has to save, tensors only: step, world, rank, and what it remembers by parameter name.

        Keys are ``residual/<name>``, others that the feedback keeps, and ``history/<name>/<key>``. Every rank saves its
        own. Nothing in it changes later.
        """
        return saved(self._memory, self.step, self.world, self.rank)

    def load_state_dict(self, state: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]) -> None:
        """Go on from what ``state_dict`` returned: this rank's own or, needed if their number changed, that of all.

        With M ranks instead of N, rank r takes the residuals of the old ranks r, r + M, ...: their sum times M / N,
        so that the mean of what was not sent stays what it was. Raises ValueError where something does not fit.
        """
        states = [state] if isinstance(state, Mapping) else list(state)
        memory, step = loaded(states, self.rank, self.world)
        self._check(memory)
        self._memory, self.step = memory, step

    def report(self) -> str:
        """Return what the steps of this run cost, as text."""
        return text(self.steps)

    def hook(self, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
        """Average one bucket. What goes wrong, on any rank, ``backward`` raises once all buckets were seen."""
        started = time.perf_counter()
        if bucket.index() == 0:
            self._begin()
        buffer = bucket.buffer()
        staged = Staged(buffer, bucket.gradients(), [self._names[id(x)] for x in bucket.parameters()])
        turn = Turn(self.step, self.seed, self._scale())
        ready = _future(buffer)
        self._running.append(
            self._lanes.submit(bucket.index(), partial(work, staged, partial(self._averaged, turn), ready))
        )
        if bucket.is_last():
            _after_backward(self._end)
        self._called_s.append((started, time.perf_counter()))
        return ready

    def _begin(self) -> None:
        for abandoned in self._running:  # a backward that was interrupted
            abandoned.exception()
        self.step += 1
        self._running, self._called_s = [], []
        self._counted = self._bytes()

    def _averaged(self, turn: Turn, gradients: Mapping[str, Tensor], link: TorchLink) -> Outcome | None:
        try:
            return averaged(gradients, self._memory, self.made, self._place, turn, partial(carry, link))
        except NonFiniteError:
            if self.nonfinite == "raise":
                raise
            return None

    def _end(self) -> None:
        """Wait for all buckets. DDP's own end of backward comes after this and needs to: only then raise, or commit."""
        errors = [error for running in self._running if (error := running.exception())]
        _after_backward(partial(_raise, errors[0]) if errors else self._commit)

    def _commit(self) -> None:
        """Take over what the step left, all or nothing; but of a parameter that got no gradient, nothing was sent."""
        done = [running.result() for running in self._running]
        self._running = []
        outcomes = [bucket.outcome for bucket in done if bucket.outcome]
        if len(outcomes) == len(done):
            for outcome in outcomes:
                for name in [name for name in outcome.choices if self._parameters[name].grad is None]:
                    outcome.memory.forget(name)
                self._memory.update(outcome.memory)
        self._report(done)

    def _report(self, done: Sequence[Done]) -> None:
        counted = self._bytes()
        choices = {name: c for bucket in done if bucket.outcome for name, c in bucket.outcome.choices.items()}
        same = self.last is not None and self.last.exchanges == choices
        self.last = StepReport(
            step=self.step,
            world=self.world,
            sent_bytes=counted[0] - self._counted[0],
            received_bytes=counted[1] - self._counted[1],
            dense_bytes=sum(bucket.dense_bytes for bucket in done),
            encode_s=sum(bucket.encode_s for bucket in done),
            exposed_s=self._exposed_s(done),
            exchanges=self.last.exchanges if self.last and same else choices,
        )
        self.steps.append(self.last)

    def _bytes(self) -> tuple[int, int]:
        """Return the bytes sent and received so far."""
        links = self._lanes.links
        return sum(x.sent_bytes.total() for x in links), sum(x.received_bytes.total() for x in links)

    def _exposed_s(self, done: Sequence[Done]) -> float:
        if not self.pipelined:
            return sum(ended - started for started, ended in self._called_s)
        return max(0.0, max(bucket.ended_s for bucket in done) - self._called_s[-1][0])

    def _check(self, memory: Memory) -> None:
        """Raise ValueError where what was saved is not of these parameters."""
        for name in {*memory.kept, *memory.histories}:
            if name not in self._parameters:
                raise ValueError(f"the state is of another model: it has {name!r}, which this one does not")
        for name, kept in memory.kept.items():
            for key, x in kept.items():
                if x.shape != self._parameters[name].shape:
                    wanted = tuple(self._parameters[name].shape)
                    raise ValueError(f"the {key} of {name!r} is {tuple(x.shape)}, the parameter {wanted}")


def _future(buffer: Tensor) -> torch.futures.Future[Tensor]:
    return torch.futures.Future(devices=[buffer.device] if buffer.is_cuda else None)


def _after_backward(call: Callable[[], None]) -> None:
    """Call once backward is over, in the thread that called it; what it raises, backward raises."""
    cast(Any, torch.autograd.Variable)._execution_engine.queue_callback(call)


def _raise(error: BaseException) -> None:
    raise error
