"""The hook: buckets come in as backward makes them, and go out averaged; a step counts once all its buckets did."""

# No postponed annotations here: torch compares the hook's with the classes themselves.

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor

from thinwire.codec import Codec, Spec, State
from thinwire.collective import LinkSpeed
from thinwire.compressor import Compressor
from thinwire.ddp.accounts import Accounts
from thinwire.ddp.attendance import Attendance, passes_text
from thinwire.ddp.bucket import Turn
from thinwire.ddp.detached import COPIED, Detached
from thinwire.ddp.lanes import Lanes
from thinwire.ddp.parameters import Parameters
from thinwire.ddp.planner import Planner
from thinwire.ddp.report import StepReport, text
from thinwire.ddp.staged import Staged
from thinwire.ddp.state import Memory, checked, in_order, loaded, saved
from thinwire.ddp.step import Setting, Step
from thinwire.ddp.waiting import Waiting
from thinwire.ddp.worth import Worth, worth
from thinwire.exchange import Place


class GradientCompression:
    """Averages the gradients of one DistributedDataParallel model, compressed. ``compress_gradients`` makes it.

    ``made``, ``lanes`` and ``nonfinite`` are as there; ``scale`` returns the loss scale of the step; ``planner`` is of
    ``made``, ``attendance`` of the model; ``link`` is what was measured, if anything.
    """

    def __init__(
        self,
        parameters: Parameters,
        made: Compressor,
        lanes: Lanes,
        scale: Callable[[], float],
        nonfinite: Literal["raise", "pass"],
        seed: int,
        pipelined: bool,
        planner: Planner,
        attendance: Attendance,
        link: LinkSpeed | None = None,
    ) -> None:
        self.made, self.nonfinite, self.seed, self.pipelined = made, nonfinite, seed, pipelined
        self.link = link
        """How fast the link between the ranks is, if it was measured."""
        self.step = 0
        """Steps begun so far."""
        self._lanes, self._scale, self._planner = lanes, scale, planner
        if link is not None:
            planner.note(None, link.bandwidth_bps, link.latency_s)
        self._parameters = parameters
        self._place = Place(lanes.links[0].rank, lanes.links[0].world)
        self._setting = Setting(made, self._place, lanes, planner, nonfinite == "pass", attendance)
        self._memory = Memory()
        self._now: Step | None = None
        """The step under way."""
        self._accounts = Accounts(lanes, self._place.world, pipelined)

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        return self._place.rank

    @property
    def world(self) -> int:
        """Number of ranks."""
        return self._place.world

    @property
    def last(self) -> StepReport | None:
        """What the newest step cost."""
        return self._accounts.steps[-1] if self._accounts.steps else None

    @property
    def steps(self) -> list[StepReport]:
        """What the newest steps of this run cost, up to 10,000."""
        return list(self._accounts.steps)

    @property
    def plan(self) -> Mapping[str, Codec] | None:
        """Name -> codec as rank 0 planned; None before that, and where the policy looks at shapes and step only."""
        return self._planner.course.codecs if self._planner.course else None

    @property
    def budget_bytes(self) -> float | None:
        """Bytes that one encoding of all gradients may take, in the mean over steps; None without such a policy."""
        return self._planner.goal_bytes

    def state_dict(self) -> State:
        """Return what this rank has to save, tensors only: step, world, rank, and what it remembers by parameter name.

        Keys are ``residual/<name>``, others that the feedback keeps, and ``history/<name>/<key>``. Every rank saves its
        own. Nothing in it changes later. Where rank 0 plans, the plan is below ``plan/``.
        """
        return saved(self._memory, self.step, self.world, self.rank) | self._planner.state()

    def load_state_dict(self, state: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]) -> None:
        """Go on from what ``state_dict`` returned: this rank's own or, needed if their number changed, that of all.

        With M ranks instead of N, rank r takes the residuals of the old ranks r, r + M, ...: their sum times M / N,
        so that the mean of what was not sent stays what it was. Raises ValueError where something does not fit.
        """
        states = checked([state] if isinstance(state, Mapping) else list(state))
        memory, step = loaded(states, self.rank, self.world)
        self._check(memory)
        if not all(in_order(x) for x in states) and (moved := self._parameters.moved()):
            raise ValueError(
                f"the state is of a version that kept what belongs to {moved!r} in the order of its memory, which the "
                "state does not tell: go on without the state (its residuals are lost), or from contiguous parameters"
            )
        # The first rank's own has what the policy remembers; the plan is the same in all.
        self._planner.load(next(x for x in states if int(x["rank"]) == self.rank % int(x["world"])))
        self._memory, self.step = memory, step

    def report(self) -> str:
        """Return what the steps of this run cost, as text; and if that paid, where the link was measured."""
        lines = [self.worth().text] if self.link and self.steps else []
        return "\n  ".join([text(self.steps), *self._planner.lines(), *lines])

    def note(
        self, *, loss: float | None = None, bandwidth_bps: float | None = None, latency_s: float | None = None
    ) -> None:
        """Tell policies what they may look at; rank 0's counts, and other ranks may leave it out.

        ``loss``: the training loss of a step, before its backward; a plan is made with the mean of those since the last
        plan. ``bandwidth_bps`` and ``latency_s``: of the link, bits per second and seconds one way.
        """
        self._planner.note(loss, bandwidth_bps, latency_s)

    def worth(self, link: LinkSpeed | None = None) -> Worth:
        """Return what compression buys on the link that was measured, or on another; as this rank saw its last steps.

        Raises ValueError before the first step, and where no link was given or measured and there are other ranks.
        """
        if (link or self.link) is None and self.world > 1:
            raise ValueError("no link was measured: compress_gradients(..., probe=True) does, or give worth() one")
        return worth(self.steps, link or self.link or LinkSpeed(0.0, math.inf), self.pipelined, self.link)

    def hook(self, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
        """Average one bucket. What goes wrong, on any rank, ``backward`` raises once all buckets were seen."""
        started = time.perf_counter()
        if bucket.index() == 0:
            self._begin()
        assert self._now is not None
        buffer = bucket.buffer()
        gradients, means = self._parameters.views(bucket)
        self._planner.meet({name: Spec.of(x) for name, x in gradients.items()})
        staged, ready = Staged(buffer, gradients, means), _future(buffer)
        turn = Turn(self.step, self.seed, self._scale())
        self._now.take(Waiting(bucket.index(), list(gradients), staged, turn, ready), bucket.is_last())
        self._accounts.called(started)
        if bucket.is_last() and _in_backward():
            _after_backward(partial(self._end, self._now))
        elif bucket.is_last():
            self._end_beside(self._now)
        return ready

    def __reduce__(self) -> tuple[type[Detached], tuple[()]]:
        """Copy or pickle, as with the model that it is a hook of: links to other ranks cannot be copied."""
        warnings.warn(COPIED, stacklevel=2)
        return Detached, ()

    def _begin(self) -> None:
        if self._now is not None:  # its backward was interrupted
            self._now.abandon()
        self.step += 1
        self._now = Step(self.step, self._setting, self._memory)
        self._accounts.begin()

    def _end(self, step: Step) -> None:
        """Wait for all lanes. DDP's own end of backward comes after this and needs to: only then raise, or commit."""
        error, self._now = step.wait(), None
        _after_backward(partial(_raise, error) if error else partial(self._commit, step))

    def _end_beside(self, step: Step) -> None:
        """End a step of the others, in which this rank has no rows (``Join``): it sent what was left of its own."""
        error, self._now = step.wait(), None
        if error:
            raise error
        self._commit(step, unused=lambda name: False)

    def _commit(self, step: Step, unused: Callable[[str], bool] | None = None) -> None:
        """Take over what the step left, all or nothing; but of a parameter that got no gradient, nothing was sent."""
        ended = step.ended()
        if said := passes_text(ended.passes):
            warnings.warn(said, stacklevel=2)
        for outcome in ended.outcomes or ():
            for name in filter(unused or self._parameters.without_gradient, outcome.choices):
                outcome.memory.forget(name)
            self._memory.update(outcome.memory)
        report = self._accounts.close(self.step, ended)
        if ended.outcomes is not None:
            self._planner.follow(ended.course)
            self._planner.spent(report.encoded_bytes, self.step, self._accounts.turn(report))

    def _check(self, memory: Memory) -> None:
        """Raise ValueError where what was saved is not of these parameters."""
        for name in {*memory.kept, *memory.histories}:
            if name not in self._parameters:
                raise ValueError(f"the state is of another model: it has {name!r}, which this one does not")
        for name, kept in memory.kept.items():
            for key, x in kept.items():
                wanted = self._parameters.spec(name).shape
                if x.shape != wanted or not x.is_floating_point():
                    raise ValueError(
                        f"the {key} of {name!r} is {tuple(x.shape)} {x.dtype}, expected floats of {wanted}"
                    )


def _future(buffer: Tensor) -> torch.futures.Future[Tensor]:
    return torch.futures.Future(devices=[buffer.device] if buffer.is_cuda else None)


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _after_backward(call: Callable[[], None]) -> None:
    """Call once backward is over, in the thread that called it; what it raises, backward raises."""
    cast(Any, torch.autograd.Variable)._execution_engine.queue_callback(call)


def _raise(error: BaseException) -> None:
    raise error
