"""What ranks do in the tests of the link."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thinwire import NonFiniteError, Spec, Uniform, WireError
from thinwire.collective import Plan, TorchLink, agree, carry, refuse
from thinwire.collective.carry import _check
from thinwire.exchange import Place, driven, start


def length(rank: int) -> int:
    """How much a rank has for all: the first has nothing."""
    return 5 * rank


def exchanged(group: Any) -> tuple[list[list[int]], list[list[int]], int, int]:
    link = TorchLink.beside(group)
    everybody = range(link.world)
    gathered = link.gather(bytes_of(link.rank, length(link.rank)), [length(rank) for rank in everybody])
    mine = [bytes_of(10 * link.rank + rank, link.rank * rank) for rank in everybody]
    swapped = link.all_to_all(mine, [rank * link.rank for rank in everybody])
    sent, received = link.sent_bytes.total(), link.received_bytes.total()
    return [x.tolist() for x in gathered], [x.tolist() for x in swapped], sent, received


def bytes_of(value: int, count: int) -> Tensor:
    return torch.full((count,), value, dtype=torch.uint8)


def addend(rank: int, dtype: torch.dtype, count: int) -> Tensor:
    return (torch.randn(count, generator=torch.Generator().manual_seed(rank)) * 10.0**rank).to(dtype)


def summed(group: Any, dtype: torch.dtype, count: int) -> tuple[Tensor, Tensor, int]:
    link = TorchLink.beside(group)
    total = link.sum_all(addend(link.rank, dtype, count))
    sent = link.sent_bytes.total()
    return total, link.sum_all(addend(link.rank, dtype, count).flip(0)), sent


def agreed(group: Any, plans: list[Plan], kinds: list[str]) -> list[int]:
    link = TorchLink.beside(group)
    return agree(link, plans[link.rank], kinds[link.rank], [10 * link.rank + rank for rank in range(link.world)])


def refused(group: Any, refusals: dict[int, tuple[str, str]]) -> None:
    link = TorchLink.beside(group)
    if link.rank in refusals:
        name, text = refusals[link.rank]
        raise refuse(
            link, Plan({}), {"NonFiniteError": NonFiniteError, "WireError": WireError}.get(name, KeyError)(text)
        )
    agree(link, Plan({"a": "b"}), "sum", [0] * link.world)


def corrupted(group: Any) -> None:
    """One bit of what rank 1 has for rank 0 is turned on its way."""
    link = TorchLink.beside(group)
    swap = link.swap

    def turning(kind: str, outgoing: list[Tensor], sizes: list[int]) -> list[Tensor]:
        arrived = swap(kind, outgoing, sizes)
        if kind == "all-to-all" and link.rank == 0:
            arrived[1] = arrived[1].clone()
            arrived[1][-9] ^= 1
        return arrived

    link.swap = turning
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(link.rank))
    begun = start("two-shot", Uniform(bits=8), x, Place(link.rank, link.world), 0, {})
    carry(link, driven({"w": begun}, link.world), Plan({"w": "Uniform(bits=8)"}))


def outsized(group: Any) -> None:
    _check([1 << 40], [{"w": Spec((8, 8), torch.float32)}])
