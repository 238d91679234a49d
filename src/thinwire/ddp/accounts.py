"""What steps cost, put together from what links counted, lanes did and the clock said."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from thinwire.ddp.encodings import framed_bytes
from thinwire.ddp.lanes import Lanes
from thinwire.ddp.report import StepReport
from thinwire.ddp.step import Ended
from thinwire.ddp.work import Settled, busiest
from thinwire.exchange.selected import NOTHING
from thinwire.policy import Turn

KEPT = 10_000
"""Steps whose reports are kept: a few megabytes, however long a run is."""


class Accounts:
    """Keeps the reports of the newest steps, and the clock and counters of the one that runs."""

    def __init__(self, lanes: Lanes, world: int, pipelined: bool) -> None:
        self._lanes, self._world, self._pipelined = lanes, world, pipelined
        self.steps: deque[StepReport] = deque(maxlen=KEPT)
        self._called_s: list[tuple[float, float]] = []
        self._before, self._link_before_s, self._ended_s = (0, 0), list[float](), 0.0

    def begin(self) -> None:
        """A step begins."""
        self._called_s = []
        self._before, self._link_before_s = self._counted(), self._link_s()

    def called(self, started: float) -> None:
        """The hook was called at that time, and is done now."""
        self._called_s.append((started, time.perf_counter()))

    def close(self, step: int, ended: Ended) -> StepReport:
        """Report the step that ends."""
        sent, received = (now - before for now, before in zip(self._counted(), self._before, strict=True))
        done, outcomes = ended.done, [bucket.outcome for bucket in ended.done if bucket.outcome]
        choices = {name: choice for outcome in outcomes for name, choice in outcome.choices.items()}
        dense_bytes = sum(bucket.dense_bytes for bucket in done)
        lane_s, lane_rounds = busiest(done, len(self._lanes.links))
        report = StepReport(
            step=step,
            world=self._world,
            sent_bytes=sent,
            received_bytes=received,
            dense_bytes=dense_bytes,
            encode_s=sum(bucket.encode_s for bucket in done),
            exposed_s=self._exposed_s(ended.settled),
            lane_s=lane_s,
            lane_rounds=lane_rounds + max(lane.rounds for lane in ended.settled),
            buckets=len(done),
            last_share=done[-1].dense_bytes / max(dense_bytes, 1),
            backward_s=math.fsum(started - ended for (_, ended), (started, _) in pairwise(self._called_s)),
            # One mapping for all steps that are alike.
            exchanges=self.steps[-1].exchanges if self.steps and self.steps[-1].exchanges == choices else choices,
            selected=sum((outcome.selected for outcome in outcomes), NOTHING),
            encoded_bytes=framed_bytes(sum(outcome.payload_bytes for outcome in outcomes), len(choices)),
            plan_s=ended.plan_s,
        )
        self.steps.append(report)
        return report

    def turn(self, report: StepReport) -> Turn:
        """Return what the step took, as policies of a link look at it."""
        ended = time.perf_counter()
        compute_s = max(0.0, ended - self._ended_s - report.exposed_s) if self._ended_s else 0.0
        self._ended_s = ended
        send_s = max(now - before for now, before in zip(self._link_s(), self._link_before_s, strict=True))
        return Turn(report.encoded_bytes, send_s, compute_s=compute_s, codec_s=report.encode_s)

    def _counted(self) -> tuple[int, int]:
        """Return the bytes sent and received so far."""
        links = self._lanes.links
        return sum(x.sent_bytes.total() for x in links), sum(x.received_bytes.total() for x in links)

    def _link_s(self) -> list[float]:
        """Return the seconds spent in each link so far."""
        return [link.seconds for link in self._lanes.links]

    def _exposed_s(self, settled: Sequence[Settled]) -> float:
        if not self._pipelined:
            return sum(ended - started for started, ended in self._called_s)
        return max(0.0, max(lane.ended_s for lane in settled) - self._called_s[-1][0])
