"""What goes wrong between ranks in the tests: bytes change on their way, and ranks are killed at a bad time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from replicas import Odd, Replica, digest
from torch import Tensor
from trainings import METHODS

from thinwire.codec import Encoded
from thinwire.collective import TorchLink, carry

Arrived = list[Tensor]


def watched(link: TorchLink, kind: str, number: int, then: Callable[[Arrived], None]) -> None:
    """Have ``then`` change what arrives in exchange ``number`` (from 0) of a kind."""
    swap, tell, seen = link.swap, link.tell, []

    def see(given: str, arrived: Arrived) -> None:
        seen.append(given)
        if given == kind and seen.count(kind) == number + 1:
            then(arrived)

    def swapping(given: str, *args: Any) -> Arrived:
        arrived = swap(given, *args)
        see(given, arrived)
        return arrived

    def telling(*args: Any) -> tuple[Arrived, Sequence[Tensor]]:
        heads, begun = tell(*args)
        see("terms", heads)
        return heads, begun

    link.swap, link.tell = swapping, telling


def turned(sender: int) -> Callable[[Arrived], None]:
    """Turn a bit of what one rank sent; of an empty message, nothing."""

    def turn(arrived: Arrived) -> None:
        arrived[sender] = arrived[sender].clone()
        arrived[sender][len(arrived[sender]) // 2 :][:1] ^= 4

    return turn


def corrupted(
    group: Any, name: str, kind: str, number: int, lane: int, use_pipeline: bool
) -> tuple[str, str, bool, str]:
    """Return the error of a step in which what rank 0 has for rank 1 is damaged, whether the step left nothing, and the
    hash or the error of the next step."""
    method, density = METHODS[name]
    net = Odd()
    replica = Replica(group, net, method, density=density, use_pipeline=use_pipeline)
    replica.step(0)
    before, parameters = replica.compression.state_dict(), digest(net.parameters())
    if replica.rank == 1:
        watched(replica.compression._lanes.links[lane], kind, number, turned(0))
    error = outcome(lambda: replica.step(1))
    after = replica.compression.state_dict()
    same = (
        all(torch.equal(x, after[key]) for key, x in before.items() if key != "step") and before.keys() == after.keys()
    )
    return *error, same and digest(net.parameters()) == parameters, outcome(lambda: replica.step(2))[0]


def other(part: Tensor | Encoded, flipped: bool) -> Tensor | Encoded:
    """Return a part with other numbers, or the same at other places, where it has floats."""
    if isinstance(part, Encoded):
        return replace(part, parts={name: other(x, flipped) for name, x in part.parts.items()})
    if not part.is_floating_point():
        return part
    return part.flip(0) if flipped and part.dim() else part * 1.5


def misunderstood(group: Any, name: str, flipped: bool, use_pipeline: bool) -> tuple[str, str, bool, str]:
    """Return the error of a step in which rank 1 reads other values in a frame of rank 0 that is whole, whether the
    step left nothing, and the hash or the error of the next step."""
    method, density = METHODS[name]
    replica = Replica(group, Odd(), method, density=density, use_pipeline=use_pipeline)
    replica.step(0)
    before, read = replica.compression.state_dict(), carry.unframed

    def misread(data: Tensor, expect: Any, rank: int) -> Any:
        message = read(data, expect, rank)
        return {key: other(x, flipped) for key, x in message.items()} if rank == 0 else message

    if replica.rank == 1:
        carry.unframed = misread
    try:
        error = outcome(lambda: replica.step(1))
    finally:
        carry.unframed = read
    after = replica.compression.state_dict()
    same = all(torch.equal(x, after[key]) for key, x in before.items() if key != "step")
    return *error, same, outcome(lambda: replica.step(2))[0]


def outcome(call: Callable[[], str]) -> tuple[str, str]:
    try:
        return call(), ""
    except Exception as error:
        return type(error).__name__, str(error)


def killed(group: Any, name: str, where: str, use_pipeline: bool, dying: bool) -> tuple[str, str]:
    """Return the error of a step in which a rank is killed: in backward, or after an exchange of the kind ``where``."""
    method, density = METHODS[name]
    replica = Replica(group, Odd(), method, density=density, use_pipeline=use_pipeline)
    replica.step(0)
    if dying and where == "backward":
        replica.net.middle.weight.register_hook(lambda grad: die())
    elif dying:
        watched(replica.compression._lanes.links[0], where, 0, lambda arrived: die())
    return outcome(lambda: replica.step(1))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_turn(group: Any, plan: Sequence[tuple[str, str, bool]]) -> list[tuple[str, str]]:
    """Be a survivor of one group of three after the other (ranks 0 and 1), or the rank that dies in one of them."""
    rank, timeout = dist.get_rank(group), timedelta(seconds=30)
    trios = [dist.new_group([0, 1, 2 + at], timeout) for at in range(len(plan))]
    return [
        killed(trio, *case, dying=rank >= 2)
        for at, (trio, case) in enumerate(zip(trios, plan, strict=True))
        if rank in (0, 1, 2 + at)
    ]
