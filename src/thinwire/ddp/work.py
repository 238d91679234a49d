"""What a lane does with a bucket, and what it hands back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thinwire.collective import Carrier
from thinwire.ddp.average import Outcome
from thinwire.ddp.staged import Staged


@dataclass(frozen=True)
class Done:
    """What became of a bucket; no outcome: a gradient of some rank was not finite, and that is to pass."""

    outcome: Outcome | None
    dense_bytes: int
    encode_s: float
    rounds: int
    ended_s: float


@dataclass(frozen=True)
class Settled:
    """The end of a lane's step; not ``whole``: a gradient of some rank was not finite, and that is to pass."""

    whole: bool
    rounds: int
    ended_s: float
    passes: Sequence[int] = ()
    """Of every rank, how many forward passes it made for the step; where that is known."""


def busiest(done: Sequence[Done], lanes: int) -> tuple[float, int]:
    """Return the most seconds of encoding, and the most rounds, that a lane had of a step's buckets."""
    shares = [done[lane::lanes] for lane in range(lanes)]
    return max(sum(x.encode_s for x in own) for own in shares), max(sum(x.rounds for x in own) for own in shares)


def _named(gradients: Mapping[str, Tensor]) -> str:
    first, *others = gradients
    return f"{first} and {len(others)} more" if others else first


@torch.no_grad()
def work(
    staged: Staged,
    average: Callable[[Mapping[str, Tensor], Carrier], Outcome | None],
    ready: torch.futures.Future[Tensor],
    carrier: Carrier,
) -> Done:
    """Average one bucket in place. DDP gets its future whatever happens, or its backward would never end."""
    link = carrier.link
    started, waited, rounds = time.perf_counter(), link.seconds, link.rounds
    try:
        gradients = staged.gradients()
        dense_bytes = sum(x.numel() * x.dtype.itemsize for x in gradients.values())
        outcome = average(gradients, carrier)
        staged.write(outcome.write if outcome else None)
        if outcome:
            carrier.averaged(_named(gradients), staged.buffer)
    except Exception as error:
        carrier.failed(error)
        raise
    finally:
        ready.set_result(staged.buffer)
    ended = time.perf_counter()
    # The means are in the bucket: a second copy of all gradients would stay until the step ends.
    left = replace(outcome, averages={}) if outcome else None
    encode_s = ended - started - (link.seconds - waited)
    return Done(left, dense_bytes, encode_s, link.rounds - rounds, ended)
