"""Many exchanges in lock-step: a handful of operations for all tensors of a bucket, never one for each."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thinwire.codec import Encoded, Message, Specs
from thinwire.errors import NonFiniteError, WireError
from thinwire.exchange.requests import AllToAll, Average, Exchange, Gather, Request, Sum


@dataclass(frozen=True, eq=False)
class SumAll:
    """Add 1-D tensors, one a dtype, over all ranks. They are the driver's own: adding in place is welcome.

    Reply: list[Tensor], the sums in the same order.
    """

    flats: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class GatherAll:
    """Give ``message`` to all ranks. Reply: list[Message] by rank; that of rank r has the schema ``expect[r]``."""

    message: Message
    expect: tuple[Specs, ...]


@dataclass(frozen=True, eq=False)
class AllToAllAll:
    """Give ``messages[r]`` to rank r. Reply: list[Message] by rank, what each had for this one, all of ``expect``."""

    messages: tuple[Message, ...]
    expect: Specs


Operation = SumAll | GatherAll | AllToAllAll
Driving = Generator[Operation, list[Any], dict[str, Average]]


def driven(exchanges: Mapping[str, Exchange], world: int) -> Driving:
    """Run the exchanges of name -> tensor to their end; every rank must hold the same names in the same order.

    Yields operations, is sent their replies, and returns name -> Average. All that wait for the same kind of request
    are served by one operation: first the all-to-alls, then the sums, then the gathers, so that gathers that come later
    join those that could go at once. A world of 1 needs no operation. NonFiniteError and WireError name the tensor.
    """
    running, done = dict(exchanges), dict[str, Average]()
    waiting = _advanced(running, dict.fromkeys(running), done)
    while waiting:
        kind = min((type(request) for request in waiting.values()), key=_ORDER.index)
        asked = {name: request for name, request in waiting.items() if type(request) is kind}
        replies = _alone(asked) if world == 1 else (yield from _served(asked, world))
        waiting = {name: r for name, r in waiting.items() if name not in asked} | _advanced(running, replies, done)
        # The order in a message is that of the exchanges, whichever came first.
        waiting = {name: waiting[name] for name in exchanges if name in waiting}
    return {name: done[name] for name in exchanges}


_ORDER: tuple[type[Request], ...] = (AllToAll, Sum, Gather)


def _advanced(
    running: Mapping[str, Exchange], replies: Mapping[str, list[Any] | None], done: dict[str, Average]
) -> dict[str, Request]:
    """Send each reply to its exchange; return what is asked next, and note in ``done`` what has ended."""
    asked: dict[str, Request] = {}
    for name, reply in replies.items():
        try:
            asked[name] = running[name].send(reply)  # type: ignore[arg-type]
        except StopIteration as end:
            done[name] = end.value
        except (NonFiniteError, WireError) as error:
            raise type(error)(f"{name}: {error}") from error
    return asked


def _alone(asked: Mapping[str, Request]) -> dict[str, list[Any]]:
    """Reply as in a world of one rank: everybody's answer is one's own."""
    return {name: list(_held(request)) for name, request in asked.items()}


def _held(request: Request) -> Sequence[Tensor | Encoded]:
    if isinstance(request, Sum):
        return request.tensors
    return request.encoded if isinstance(request, AllToAll) else (request.encoded,)


def _served(asked: Mapping[str, Any], world: int) -> Generator[Operation, list[Any], dict[str, list[Any]]]:
    """Make one operation of requests of one kind, and split its reply."""
    kind = type(next(iter(asked.values())))
    if kind is Sum:
        return (yield from _summed(asked))
    if kind is Gather:
        messages: list[Message] = yield _gather(asked, world)
    else:
        messages = yield _all_to_all(asked, world)
    return {name: [message[name] for message in messages] for name in asked}


def _gather(asked: Mapping[str, Gather], world: int) -> GatherAll:
    expect = tuple({name: request.specs[rank] for name, request in asked.items()} for rank in range(world))
    return GatherAll({name: request.encoded for name, request in asked.items()}, expect)


def _all_to_all(asked: Mapping[str, AllToAll], world: int) -> AllToAllAll:
    messages = tuple({name: request.encoded[rank] for name, request in asked.items()} for rank in range(world))
    return AllToAllAll(messages, {name: request.spec for name, request in asked.items()})


def _summed(asked: Mapping[str, Sum]) -> Generator[Operation, list[Any], dict[str, list[Any]]]:
    tensors = [tensor for request in asked.values() for tensor in request.tensors]
    dtypes = list(dict.fromkeys(tensor.dtype for tensor in tensors))
    flats = (torch.cat([x.reshape(-1) for x in tensors if x.dtype == dtype]) for dtype in dtypes)
    sums: list[Tensor] = yield SumAll(tuple(flats))
    cut = {dtype: _cut(total, tensors) for dtype, total in zip(dtypes, sums, strict=True)}
    return {name: [next(cut[x.dtype]) for x in request.tensors] for name, request in asked.items()}


def _cut(total: Tensor, tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the sums of the tensors of one dtype, in their shapes: views of ``total``."""
    at = 0
    for x in tensors:
        if x.dtype == total.dtype:
            yield total[at : at + x.numel()].view(x.shape)
            at += x.numel()
