"""Carry out what exchanges ask for: each operation is agreed on, sent, and answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from thinwire.codec import Specs
from thinwire.collective.agree import Coming, Plan, agree, refuse
from thinwire.collective.frames import framed, unframed
from thinwire.collective.link import TorchLink
from thinwire.collective.settle import digest_of, settle
from thinwire.errors import WireError
from thinwire.exchange.drive import AllToAllAll, Driving, GatherAll, Operation, SumAll
from thinwire.exchange.requests import Average

_FRAME_BYTES, _TENSOR_BYTES = 1 << 12, 1 << 10
"""More than header and records take, descriptions of codecs included."""


class Carrier:
    """Carries the buckets of a step over one link, one after the other, and settles them together in the end.

    Once something failed, all ranks skip the rest of the step: they learn of it where they next agree, which may be a
    bucket later, or the end.
    """

    def __init__(self, link: TorchLink) -> None:
        self.link = link
        self.begin()

    def begin(self) -> None:
        """A step begins."""
        self._averages: dict[str, int] = {}
        self._failed: Exception | None = None
        self._untold: Exception | None = None

    def failed(self, error: Exception) -> None:
        """Have the others raise an error where they next agree, unless they know of one."""
        if self._failed is None:
            self._untold = self._failed = error

    def carry(self, driving: Driving, plan: Plan) -> dict[str, Average]:
        """Return what the exchanges of a bucket came to, name -> Average. It counts once all ranks settled.

        An error on one rank (NonFiniteError, WireError, any other as PeerError) is raised by all, naming the rank; so
        is PlanMismatch where plans differ. RuntimeError where a peer is gone.
        """
        try:
            self._go_on(plan)
            return self._carried(driving, plan)
        except Exception as error:
            self._failed = error
            raise

    def averaged(self, what: str, mean: Tensor) -> None:
        """Note what a bucket came to here, a 1-D tensor: all ranks must hold the same. ``what``: its name."""
        if self.link.world > 1:
            self._averages[what] = digest_of(mean)

    def settle(self, plan: Plan, note: int = 0) -> list[int]:
        """Return the notes of all ranks once they carried all buckets of a step, and hold the same averages.

        ``plan``: of the step. Nothing is returned where the step failed, and all ranks know.

        Without it, ranks that could read the last operation would go on while the one that could not waits for them.
        Raises what a rank refused with instead, and WireError where averages differ.
        """
        if self._untold is not None or self._failed is None:
            self._go_on(plan)
            return settle(self.link, plan, self._averages, note)
        return []

    def _go_on(self, plan: Plan) -> None:
        """Raise, on all ranks, what went wrong before in this step."""
        untold, self._untold = self._untold, None
        if untold is not None:
            self._failed = refuse(self.link, plan, untold)
        if self._failed is not None:
            raise self._failed

    def _carried(self, driving: Driving, plan: Plan) -> dict[str, Average]:
        reply: Any = None  # what starts a generator
        while True:
            try:
                operation = driving.send(reply)
                outgoing = _outgoing(operation, self.link)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            except Exception as error:
                raise refuse(self.link, plan, error) from error
            coming = agree(self.link, plan, _kind(operation), outgoing)
            reply = self._moved(operation, outgoing, coming)
            if isinstance(operation, SumAll):
                continue
            try:
                reply = _read(operation, reply, self.link.rank)
            except Exception as error:
                raise refuse(self.link, plan, error) from error

    def _moved(self, operation: Operation, outgoing: Sequence[Tensor], coming: Coming) -> list[Tensor]:
        """Return the sums, or the bytes that came. What fails in here others cannot be told of: it ends the link."""
        link = self.link
        try:
            if isinstance(operation, SumAll):
                first, *others = operation.flats
                return [link.sum_all(first, coming.begun), *map(link.sum_all, others)]
            _check(coming.sizes, _expected(operation, link.world))
            return link.swap(_kind(operation), outgoing, coming.sizes, coming.begun)
        except Exception as error:
            raise link.broken(error) from None


def _kind(operation: Operation) -> str:
    return {SumAll: "sum", GatherAll: "gather", AllToAllAll: "all-to-all"}[type(operation)]


def _outgoing(operation: Operation, link: TorchLink) -> list[Tensor]:
    """Return the bytes for each rank; of sums, those of the first tensor."""
    match operation:
        case GatherAll(message):
            return [framed(message)] * link.world
        case AllToAllAll(messages):
            return [framed(message) for message in messages]
        case SumAll(flats):
            return link.to_sum(flats[0])


def _read(operation: GatherAll | AllToAllAll, arrived: Sequence[Tensor], own: int) -> list[Any]:
    """Return the messages of all ranks, in rank order: one's own is at hand."""
    mine = operation.message if isinstance(operation, GatherAll) else operation.messages[own]
    pairs = enumerate(zip(arrived, _expected(operation, len(arrived)), strict=True))
    return [mine if rank == own else unframed(data, expect, rank) for rank, (data, expect) in pairs]


def _expected(operation: GatherAll | AllToAllAll, world: int) -> list[Specs]:
    """Return the schema of what each rank sends here."""
    return list(operation.expect) if isinstance(operation, GatherAll) else [operation.expect] * world


def _check(sizes: Sequence[int], expected: Sequence[Specs]) -> None:
    """Raise WireError where a rank claims more bytes than its tensors can take: no codec grows them."""
    for rank, (size, expect) in enumerate(zip(sizes, expected, strict=True)):
        most = _FRAME_BYTES + sum(spec.nbytes + _TENSOR_BYTES for spec in expect.values())
        if not 0 <= size <= most:
            raise WireError(f"rank {rank} has {size} bytes for {len(expect)} tensors, expected at most {most}")
