"""A bucket of every rank in lock-step: what a `Carrier` does for each with a link, and how much each sends."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.collective.agree import failure, terms_bytes
from thinwire.ddp.bucket import Asking, Outcome
from thinwire.exchange.lockstep import RankError, lockstep


def carried(asking: Sequence[Asking]) -> tuple[tuple[Outcome, ...], tuple[int, ...]]:
    """Return the outcome of every rank, and the bytes that it would send. Raises what all ranks would."""
    try:
        return _carried(asking)
    except RankError as failed:
        raise failure({rank: (type(e).__name__, str(e)) for rank, e in failed.errors.items()}) from failed


def _carried(asking: Sequence[Asking]) -> tuple[tuple[Outcome, ...], tuple[int, ...]]:
    world, sent = len(asking), (0,) * len(asking)
    wanted = [next(each)[0] for each in asking]
    while True:
        done = lockstep(wanted)
        terms = len(done.operations) * terms_bytes(world)  # a link agrees before every operation
        sent = tuple(before + now + terms for before, now in zip(sent, done.sent_bytes, strict=True))
        wanted, outcomes = [], []
        for each, reply in zip(asking, done.results, strict=True):
            try:
                wanted.append(each.send(reply)[0])
            except StopIteration as end:
                outcomes.append(end.value)
        if outcomes:
            return tuple(outcomes), sent
