"""All ranks' drivings in one process: every operation goes through real frames, and its bytes are counted."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from thinwire.codec import Message, Specs
from thinwire.exchange.drive import AllToAllAll, GatherAll, Operation, SumAll
from thinwire.exchange.sums import added
from thinwire.kernels.narrow import saturate
from thinwire.wire import dumps, loads

T = TypeVar("T")


class RankError(Exception):
    """What the drivings of some ranks raised instead of their next operation: rank -> error."""

    def __init__(self, errors: dict[int, Exception]) -> None:
        super().__init__(errors)
        self.errors = errors


@dataclass(frozen=True)
class Lockstep(Generic[T]):
    """What the driving of every rank returned, and how they came there."""

    results: tuple[T, ...]
    operations: tuple[str, ...]
    """Class names, in order: the same on all ranks."""
    sent_bytes: tuple[int, ...]
    """Of each rank: frames once for every other rank; of sums, its shares of a ring all-reduce."""


def lockstep(drivings: Sequence[Generator[Operation, list[Any], T]]) -> Lockstep[T]:
    """Drive one generator of operations a rank to the end, as that many processes would.

    Raises RankError. WireError where a frame cannot be read.
    """
    replies: Sequence[list[Any] | None] = [None] * len(drivings)
    sent, operations = [0] * len(drivings), list[str]()
    while True:
        asked, results = _stepped(drivings, replies)
        if results:
            return Lockstep(tuple(results), tuple(operations), tuple(sent))
        operations.append(type(asked[0]).__name__)
        replies, counts = _answered(asked)
        sent = [before + count for before, count in zip(sent, counts, strict=True)]


def _stepped(
    drivings: Sequence[Generator[Operation, list[Any], T]], replies: Sequence[list[Any] | None]
) -> tuple[list[Operation], list[T]]:
    """Return what all ranks ask next, or what all returned."""
    asked, results, errors = list[Operation](), list[T](), dict[int, Exception]()
    for rank, (driving, reply) in enumerate(zip(drivings, replies, strict=True)):
        try:
            asked.append(driving.send(reply))  # type: ignore[arg-type]
        except StopIteration as end:
            results.append(end.value)
        except Exception as error:
            errors[rank] = error
    if errors:
        raise RankError(errors) from next(iter(errors.values()))
    assert not asked or not results, "ranks do the same operations"
    return asked, results


def _answered(asked: Sequence[Any]) -> tuple[list[list[Any]], list[int]]:
    """Return every rank's reply, and the bytes that each sent."""
    if isinstance(asked[0], SumAll):
        return _sums(asked)
    return _gathers(asked) if isinstance(asked[0], GatherAll) else _all_to_alls(asked)


def _sums(asked: Sequence[SumAll]) -> tuple[list[list[Any]], list[int]]:
    """Add as a link does; every rank adds the shard that is its own, and sends it to all others."""
    world, columns = len(asked), list(zip(*(operation.flats for operation in asked), strict=True))
    totals = [saturate(added(flats), flats[0].dtype) for flats in columns]
    own = [[_nbytes(shard) for shard in total.tensor_split(world)] for total in totals]
    sent = [sum(sum(shards) + (world - 2) * shards[rank] for shards in own) for rank in range(world)]
    return [[total.clone() for total in totals] for _ in asked], sent


def _nbytes(x: Tensor) -> int:
    return x.numel() * x.dtype.itemsize


def _gathers(asked: Sequence[GatherAll]) -> tuple[list[list[Any]], list[int]]:
    frames = [dumps(operation.message) for operation in asked]
    replies = [_read(frames, operation.expect) for operation in asked]
    return replies, [len(frame) * (len(asked) - 1) for frame in frames]


def _all_to_alls(asked: Sequence[AllToAllAll]) -> tuple[list[list[Any]], list[int]]:
    frames = [[dumps(message) for message in operation.messages] for operation in asked]
    columns = [list(column) for column in zip(*frames, strict=True)]
    replies = [
        _read(column, (operation.expect,) * len(asked)) for column, operation in zip(columns, asked, strict=True)
    ]
    return replies, [sum(map(len, row)) - len(row[rank]) for rank, row in enumerate(frames)]


def _read(frames: Sequence[bytes], expect: Sequence[Specs]) -> list[Message]:
    return [loads(frame, schema) for frame, schema in zip(frames, expect, strict=True)]
