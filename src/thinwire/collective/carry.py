"""Carry out what exchanges ask for: each operation is agreed on, sent, and answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from thinwire.codec import Specs
from thinwire.collective.agree import Plan, agree, refuse
from thinwire.collective.frames import framed, unframed
from thinwire.collective.link import TorchLink
from thinwire.collective.settle import checksum_of, settle
from thinwire.errors import WireError
from thinwire.exchange.drive import AllToAllAll, Driving, GatherAll, Operation, SumAll
from thinwire.exchange.requests import Average

_FRAME_BYTES, _TENSOR_BYTES = 1 << 12, 1 << 10
"""More than header and records take, descriptions of codecs included."""


def carry(link: TorchLink, driving: Driving, plan: Plan) -> dict[str, Average]:
    """Return what the exchanges of a bucket came to: name -> Average; on all ranks, or on none.

    An error on one rank (NonFiniteError, WireError, any other as PeerError) is raised by all, naming the rank; so is
    PlanMismatch where plans differ, and WireError where sums do. RuntimeError where a peer is gone.
    """
    reply: Any = None  # what starts a generator
    checksum = 0
    while True:
        try:
            operation = driving.send(reply)
            outgoing = _outgoing(operation, link.world)
        except StopIteration as end:
            settle(link, plan, checksum)
            return end.value  # type: ignore[no-any-return]
        except Exception as error:
            raise refuse(link, plan, error) from error
        sizes = agree(link, plan, _kind(operation), [len(piece) for piece in outgoing])
        arrived = _moved(link, operation, outgoing, sizes)
        if isinstance(operation, SumAll):
            reply = arrived
            checksum += sum(map(checksum_of, arrived))
            continue
        try:
            reply = _read(operation, arrived, link.rank)
        except Exception as error:
            raise refuse(link, plan, error) from error


def _moved(link: TorchLink, operation: Operation, outgoing: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Return the sums, or the bytes that arrived. What fails in here others cannot be told of: it ends the link."""
    try:
        if isinstance(operation, SumAll):
            return [link.sum_all(flat) for flat in operation.flats]
        _check(sizes, _expected(operation, link.world))
        return link.swap(_kind(operation), outgoing, sizes)
    except Exception as error:
        raise link.broken(error) from None


def _kind(operation: Operation) -> str:
    return {SumAll: "sum", GatherAll: "gather", AllToAllAll: "all-to-all"}[type(operation)]


def _outgoing(operation: Operation, world: int) -> list[Tensor]:
    """Return the bytes for each rank; none for a sum, whose sizes follow from the plan."""
    match operation:
        case GatherAll(message):
            return [framed(message)] * world
        case AllToAllAll(messages):
            return [framed(message) for message in messages]
        case SumAll(flats):
            return [flat.new_empty(0) for flat in [flats[0]] * world]


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
