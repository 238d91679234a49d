"""All ranks of a data-parallel run in one process: the hook's averages of the same buckets, without a network."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thinwire.codec import Codec, Specs, State
from thinwire.collective.agree import failure, terms_bytes
from thinwire.compressor import Compressor
from thinwire.ddp.all_ranks import carried
from thinwire.ddp.average import Averaging, Outcome
from thinwire.ddp.bucket import Bucket, Turn
from thinwire.ddp.course import Course
from thinwire.ddp.encodings import framed_bytes
from thinwire.ddp.lead import LEADER
from thinwire.ddp.planner import Planner
from thinwire.ddp.state import Memory, checked, loaded, saved
from thinwire.ddp.target import targets_of
from thinwire.exchange import Choice, Place
from thinwire.exchange.selected import NOTHING, Selected

Gradients = Mapping[str, Tensor]


@dataclass(frozen=True)
class Averaged:
    """What a step came to: the means, how each was averaged, and what the ranks sent and selected, rank by rank."""

    means: dict[str, Tensor]
    choices: dict[str, Choice]
    sent_bytes: tuple[int, ...]
    """As links count them: frames, shares of sums, and what ranks tell each other to agree."""
    selected: tuple[Selected, ...]
    encode_s: float
    """Encoding, averaging and decoding of one rank, in the mean."""


@dataclass(frozen=True)
class _Bucket:
    """What every rank made of a bucket, and the bytes that it sent; the means are out of the outcomes."""

    means: dict[str, Tensor]
    outcomes: tuple[Outcome, ...]
    sent_bytes: tuple[int, ...]


class SimulatedCompression:
    """What the GradientCompression of each of ``world`` ranks would do, in lock-step, with as many lanes.

    ``specs``: of the model's parameters. Times say nothing here, so that policies which look at them have none.
    """

    def __init__(self, specs: Specs, made: Compressor, world: int, seed: int, lanes: int = 1) -> None:
        self.made, self.seed, self.lanes, self.step = made, seed, lanes, 0
        self._places = [Place(rank, world) for rank in range(world)]
        self._memories = [Memory() for _ in range(world)]
        self._planners = [Planner(made, specs, seed=seed, world=world) for _ in range(world)]

    @torch.no_grad()
    def average(self, per_rank: Sequence[Gradients], buckets: Sequence[Sequence[str]]) -> Averaged:
        """Average name -> gradient (CPU floats) over the ranks, bucket by bucket; a step counts once all did.

        Raises what the ranks would all raise: NonFiniteError naming rank and parameter, WireError, PeerError.
        """
        started, turn = time.perf_counter(), Turn(self.step + 1, self.seed)
        course, sent = self._planned(per_rank[LEADER], turn.step)
        following = course or self._planners[LEADER].course
        codecs = following.codecs if following else None
        done = [self._bucket([{name: x[name] for name in names} for x in per_rank], turn, codecs) for names in buckets]
        by_rank = list(zip(*(bucket.outcomes for bucket in done), strict=True))
        self._commit(by_rank, course)
        settling = min(len(done), self.lanes) * terms_bytes(len(self._places))
        return Averaged(
            {name: x for bucket in done for name, x in bucket.means.items()},
            {name: choice for bucket in done for name, choice in bucket.outcomes[0].choices.items()},
            tuple(settling + sum(own) for own in zip(sent, *(bucket.sent_bytes for bucket in done), strict=True)),
            tuple(sum((outcome.selected for outcome in own), NOTHING) for own in by_rank),
            (time.perf_counter() - started) / len(self._places),
        )

    def note(self, rank: int, loss: float) -> None:
        """Tell policies a rank's training loss, before its backward: the first one's counts."""
        self._planners[rank].note(loss, None, None)

    def _planned(self, gradients: Gradients, step: int) -> tuple[Course | None, list[int]]:
        """Return the course that the first rank makes, where one is due, and what telling it takes each rank."""
        planner, world, sent = self._planners[LEADER], len(self._places), [0] * len(self._places)
        if not planner.due(step):
            return None, sent
        try:
            if planner.replans(step):
                course = planner.planned(targets_of(gradients, self._memories[LEADER], self.made, 1.0), step)
            else:
                course = planner.tuned(step)
        except Exception as error:
            raise failure({LEADER: (type(error).__name__, str(error))}) from error
        sent = [terms_bytes(world)] * world
        sent[LEADER] += (world - 1) * len(course.text.encode())
        return course, sent

    def _bucket(self, per_rank: Sequence[Gradients], turn: Turn, codecs: Mapping[str, Codec] | None) -> _Bucket:
        ranks = zip(per_rank, self._memories, self._places, strict=True)
        buckets = [Bucket.of(given, memory, self.made, place, turn, codecs) for given, memory, place in ranks]
        outcomes, sent = carried(list(map(Averaging, buckets)))
        means = {name: torch.empty_like(x) for name, x in per_rank[0].items()}
        for name, out in means.items():
            outcomes[0].write(name, out)
        return _Bucket(means, tuple(replace(outcome, averages={}) for outcome in outcomes), sent)

    def _commit(self, by_rank: Sequence[Sequence[Outcome]], course: Course | None) -> None:
        """Take over what the step left, of all buckets."""
        self.step += 1
        for memory, planner, outcomes in zip(self._memories, self._planners, by_rank, strict=True):
            for outcome in outcomes:
                memory.update(outcome.memory)
            planner.follow(course if course is None or planner is self._planners[LEADER] else Course.of(course.text))
            tensors = sum(len(outcome.choices) for outcome in outcomes)
            planner.spent(framed_bytes(sum(outcome.payload_bytes for outcome in outcomes), tensors), self.step)

    def state_dict(self, rank: int) -> State:
        """Return what the GradientCompression of a rank would."""
        own = saved(self._memories[rank], self.step, len(self._places), rank)
        return own | self._planners[rank].state()

    def load_state_dict(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Go on from what all ranks of a run saved, simulated or not, be they as many or not. Raises ValueError."""
        states = checked(states)
        both = [loaded(states, place.rank, place.world) for place in self._places]
        self._memories, self.step = [memory for memory, _ in both], both[0][1]
        for rank, planner in enumerate(self._planners):
            planner.load(next(x for x in states if int(x["rank"]) == rank % int(x["world"])))
