"""N ranks in one process: the same exchanges, driven through real frames. For tests and studies of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thinwire.codec import Codec, Message, Spec, Specs, State, derive_seed
from thinwire.exchange.choice import Choice, Name, chosen, start
from thinwire.exchange.drive import AllToAllAll, Driving, GatherAll, Operation, SumAll, driven
from thinwire.exchange.requests import Average, Place
from thinwire.wire import dumps, loads

Averages = dict[str, Average]


@dataclass(frozen=True)
class Simulation:
    """What every rank holds in the end, how it went, and what each rank handed to its network."""

    averages: tuple[Averages, ...]
    choices: Mapping[str, Choice]
    operations: tuple[str, ...]
    """Class names, in order: the same on all ranks."""
    sent_bytes: tuple[int, ...]
    """Frames once for every other rank; of sums, what a ring all-reduce takes: 2 (N - 1) / N of the parts."""


def simulated(
    per_rank: Sequence[Mapping[str, Tensor]],
    codecs: Codec | Mapping[str, Codec],
    seed: int = 0,
    histories: Sequence[Mapping[str, State]] = (),
    exchange: Name | None = None,
) -> Simulation:
    """Average name -> float tensor over ranks, as ``world = len(per_rank)`` processes would.

    ``codecs``: one for all tensors, or by name. ``histories``: of each rank, by name. ``exchange`` overrides what would
    be chosen. Raises NonFiniteError, and WireError where a frame cannot be read.
    """
    world = len(per_rank)
    plan = {name: codecs if isinstance(codecs, Codec) else codecs[name] for name in per_rank[0]}
    choices = {name: _choice(plan[name], Spec.of(x), world, exchange) for name, x in per_rank[0].items()}
    drivings = []
    for rank, tensors in enumerate(per_rank):
        place, past = Place(rank, world), histories[rank] if histories else {}
        exchanges = {
            name: start(choices[name].name, plan[name], x, place, derive_seed(seed, name), past.get(name, {}))
            for name, x in tensors.items()
        }
        drivings.append(driven(exchanges, world))
    return _run(drivings, choices)


def _choice(codec: Codec, spec: Spec, world: int, wanted: Name | None) -> Choice:
    return chosen(codec, spec, world) if wanted is None else Choice(wanted, "asked for")


def _run(drivings: Sequence[Driving], choices: Mapping[str, Choice]) -> Simulation:
    replies: Sequence[list[Any] | None] = [None] * len(drivings)
    sent, operations = [0] * len(drivings), list[str]()
    while True:
        steps = [_step(driving, reply) for driving, reply in zip(drivings, replies, strict=True)]
        averages = [step for step in steps if isinstance(step, dict)]
        if averages:
            return Simulation(tuple(averages), choices, tuple(operations), tuple(sent))
        asked = [step for step in steps if not isinstance(step, dict)]
        operations.append(type(asked[0]).__name__)
        replies, counts = _answered(asked)
        sent = [before + count for before, count in zip(sent, counts, strict=True)]


def _step(driving: Driving, reply: list[Any] | None) -> Operation | Averages:
    try:
        return driving.send(reply)  # type: ignore[arg-type]
    except StopIteration as end:
        averages: Averages = end.value
        return averages


def _answered(asked: Sequence[Any]) -> tuple[list[list[Any]], list[int]]:
    """Return every rank's reply, and the bytes that each sent."""
    if isinstance(asked[0], SumAll):
        return _sums(asked)
    return _gathers(asked) if isinstance(asked[0], GatherAll) else _all_to_alls(asked)


def _sums(asked: Sequence[SumAll]) -> tuple[list[list[Any]], list[int]]:
    world = len(asked)
    totals = [torch.stack(flats).sum(0) for flats in zip(*(operation.flats for operation in asked), strict=True)]
    nbytes = sum(total.numel() * total.dtype.itemsize for total in totals)
    return [[total.clone() for total in totals] for _ in asked], [2 * (world - 1) * nbytes // world] * world


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
