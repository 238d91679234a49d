"""A step under way: its buckets are planned, averaged and settled on their lanes, and count all or none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thinwire.collective import Carrier, Plan
from thinwire.compressor import Compressor
from thinwire.ddp.attendance import Attendance
from thinwire.ddp.average import Averaging, Outcome
from thinwire.ddp.bucket import Bucket, Turn
from thinwire.ddp.course import Course
from thinwire.ddp.lanes import Lanes
from thinwire.ddp.lead import led, terms
from thinwire.ddp.planner import Planner
from thinwire.ddp.state import Memory
from thinwire.ddp.target import targets_of
from thinwire.ddp.waiting import Waiting
from thinwire.ddp.work import Done, Settled
from thinwire.errors import NonFiniteError
from thinwire.exchange import Place

_UPDATED = "whether the optimizer changed the parameters since the last step"
_MOST_PASSES = 1 << 16


@dataclass(frozen=True, eq=False)
class Setting:
    """What is the same for all steps of a rank; ``passes``: what is not finite arrives as NaN, and is no error."""

    made: Compressor
    place: Place
    lanes: Lanes
    planner: Planner
    passes: bool
    attendance: Attendance


@dataclass(frozen=True, eq=False)
class Ended:
    """What became of a step's buckets and lanes; ``outcomes`` is None where something was not finite, on any rank."""

    done: Sequence[Done]
    settled: Sequence[Settled]
    outcomes: Sequence[Outcome] | None
    course: Course | None
    """What was planned in this step, if anything."""
    plan_s: float

    @property
    def passes(self) -> Sequence[int]:
        """Return how many forward passes each rank made for the step."""
        return self.settled[0].passes


class Step:
    """One step; nothing of it is remembered before it ended."""

    def __init__(self, number: int, setting: Setting, memory: Memory) -> None:
        self.number, self._setting, self._memory = number, setting, memory
        self._buckets: list[Waiting] = []
        self._handed = 0
        self._planning: Future[Course] | None = None
        self._running: list[Future[Done]] = []
        self._settling: list[Future[Settled]] = []
        self._plan_s = 0.0
        self._passes = setting.attendance.passes()
        for carrier in setting.lanes.carriers:
            carrier.begin()

    def take(self, bucket: Waiting, last: bool) -> None:
        """Hand a bucket to its lane or, where all are planned together, hold it until the last one is there."""
        lanes = self._setting.lanes
        self._buckets.append(bucket)
        if last or not self._setting.planner.replans(self.number):
            self._submit()
        if last:
            used = lanes.used(len(self._running))
            self._settling = [lanes.submit(lane, partial(self._settled, lane == 0)) for lane in used]

    def wait(self) -> BaseException | None:
        """Wait for all lanes; return what went wrong. What one rank could not average all have as NaN."""
        errors = self.abandon()
        if not errors and not all(lane.result().whole for lane in self._settling):
            for bucket in self._buckets:
                bucket.staged.write(None)
        return errors[0] if errors else None

    def abandon(self) -> list[BaseException]:
        """Wait for what runs, and leave buckets as they are; return what went wrong."""
        ending: Sequence[Future[Any]] = (*self._running, *self._settling)
        return [error for future in ending if (error := future.exception())]

    def ended(self) -> Ended:
        """Return what became of it, once ``wait`` found nothing wrong."""
        done, settled = [bucket.result() for bucket in self._running], [lane.result() for lane in self._settling]
        outcomes = [bucket.outcome for bucket in done if bucket.outcome]
        whole = len(outcomes) == len(done) and all(lane.whole for lane in settled)
        course = self._planning.result() if whole and self._planning else None  # what is not finite has no plan
        return Ended(done, settled, outcomes if whole else None, course, self._plan_s)

    def _submit(self) -> None:
        """Hand the buckets that came to their lanes; where a plan is due, those are all of the step's."""
        waiting = self._buckets[self._handed :]
        lanes = self._setting.lanes
        if self._setting.planner.due(self.number) and not self._planning:
            self._planning = lanes.submit(0, partial(self._plan, waiting))
        self._running += [lanes.submit(bucket.number, partial(self._work, bucket)) for bucket in waiting]
        self._handed = len(self._buckets)

    @torch.no_grad()
    def _plan(self, waiting: Sequence[Waiting], carrier: Carrier) -> Course:
        """Return the plan that all ranks follow from this step on: as rank 0 makes it, if anew from its targets."""
        planner, made = self._setting.planner, self._setting.made

        def make() -> Course:
            if not planner.replans(self.number):
                return planner.tuned(self.number)
            targets: dict[str, Tensor] = {}
            for bucket in waiting:
                targets |= targets_of(bucket.staged.gradients(), self._memory, made, bucket.turn.scale)
            return planner.planned(targets, self.number)

        started = time.perf_counter()
        names = {name for bucket in waiting for name in bucket.names}
        if planner.course is not None and not planner.replans(self.number):
            names = {*planner.course.codecs}
        course = led(carrier.link, terms(self.number, made.policy), names, make)
        self._plan_s = time.perf_counter() - started
        return course

    def _work(self, bucket: Waiting, carrier: Carrier) -> Done:
        return bucket.work(self._averaged, self._planning, carrier)

    def _averaged(self, turn: Turn, gradients: Mapping[str, Tensor], carrier: Carrier) -> Outcome | None:
        setting = self._setting
        try:
            course = self._planning.result() if self._planning else setting.planner.course
            codecs = course.codecs if course else None
            averaging = Averaging(Bucket.of(gradients, self._memory, setting.made, setting.place, turn, codecs))
            return averaging.outcome(carrier.carry(averaging.driving(), averaging.plan))
        except NonFiniteError:
            if not setting.passes:
                raise
            return None

    def _settled(self, first: bool, carrier: Carrier) -> Settled:
        """End the step of a lane; the first one tells what this rank did since the last step."""
        before, whole, passes = carrier.link.rounds, True, list[int]()
        lines = {"the step": str(self.number)}
        if first and carrier.link.world > 1:
            lines[_UPDATED] = self._setting.attendance.updated()
        try:
            passes = carrier.settle(Plan(lines), min(self._passes, _MOST_PASSES) if first else 0)
        except NonFiniteError:
            if not self._setting.passes:
                raise
            whole = False
        return Settled(whole, carrier.link.rounds - before, time.perf_counter(), passes)
