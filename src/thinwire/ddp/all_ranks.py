"""A bucket of every rank in lock-step: what a `Carrier` does for each with a link, and how much each sends."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.collective.agree import failure, terms_bytes
from thinwire.ddp.average import Averaging, Outcome
from thinwire.exchange.lockstep import RankError, lockstep


def carried(ranks: Sequence[Averaging]) -> tuple[tuple[Outcome, ...], tuple[int, ...]]:
    """Return the outcome of every rank, and the bytes that it would send. Raises what all ranks would."""
    try:
        done = lockstep([averaging.driving() for averaging in ranks])
    except RankError as failed:
        raise failure({rank: (type(e).__name__, str(e)) for rank, e in failed.errors.items()}) from failed
    terms = len(done.operations) * terms_bytes(len(ranks))  # a link agrees before every operation
    outcomes = [averaging.outcome(result) for averaging, result in zip(ranks, done.results, strict=True)]
    return tuple(outcomes), tuple(sent + terms for sent in done.sent_bytes)
