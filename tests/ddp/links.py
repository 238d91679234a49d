"""What ranks do in the tests of the link."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thinwire import NonFiniteError, Raw, Spec, Uniform, WireError
from thinwire.collective import Carrier, Plan, TorchLink, agree, refuse
from thinwire.collective.agree import _check_word
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
    outgoing = [bytes_of(rank, 10 * link.rank + rank) for rank in range(link.world)]
    return agree(link, plans[link.rank], kinds[link.rank], outgoing).sizes


def refused(group: Any, refusals: dict[int, tuple[str, str]]) -> None:
    link = TorchLink.beside(group)
    if link.rank in refusals:
        name, text = refusals[link.rank]
        raise refuse(
            link, Plan({}), {"NonFiniteError": NonFiniteError, "WireError": WireError}.get(name, KeyError)(text)
        )
    agree(link, Plan({"a": "b"}), "sum", [bytes_of(0, 0)] * link.world)


def corrupted(group: Any) -> None:
    """One bit of what rank 1 has for rank 0 is turned on its way."""
    link = TorchLink.beside(group)
    swap = link.swap

    def turning(kind: str, outgoing: list[Tensor], sizes: list[int], begun: Any = None) -> list[Tensor]:
        arrived = swap(kind, outgoing, sizes, begun)
        if kind == "all-to-all" and link.rank == 0:
            arrived[1] = arrived[1].clone()
            arrived[1][-9] ^= 1
        return arrived

    link.swap = turning
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(link.rank))
    begun = start("two-shot", Uniform(bits=8), x, Place(link.rank, link.world), 0, {})
    Carrier(link).carry(driven({"w": begun}, link.world), Plan({"w": "Uniform(bits=8)"}))


def lying(group: Any, row: list[int], then: list[int] | None) -> None:
    """Rank 1 says what no rank would: ``row`` in place of its terms, and ``then`` in place of what follows."""
    link = TorchLink.beside(group)
    tell, rows = link.tell, [row, then]

    def telling(head: Tensor, *rest: Any) -> Any:
        said = rows.pop(0)
        return tell(head if said is None else signed(said, len(head)), *rest)

    if link.rank == 1:
        link.tell = telling
    plan = Plan({"a": "1"} if link.rank == 1 and then else {"a": "0"})
    agree(link, plan, "sum", [bytes_of(0, 0)] * link.world)


def signed(row: list[int], length: int) -> Tensor:
    """Return a row of terms with its check, as honest ranks read it."""
    words = (row * 8)[: length // 8 - 1]
    return torch.tensor([*words, _check_word(words)], dtype=torch.int64).view(torch.uint8)


def outsized(group: Any) -> None:
    _check([1 << 40], [{"w": Spec((8, 8), torch.float32)}])


def begun(group: Any) -> list[bool]:
    """Return whether messages came whole that are shorter than what goes along with the terms, as long, and longer."""
    link = TorchLink.beside(group)
    early = link.early_bytes
    counts = [0, 1, early - 1, early, early + 1, 3 * early]
    whole = []
    for at in range(len(counts)):
        had = [noise(rank, counts[(at + rank) % len(counts)]) for rank in range(link.world)]
        coming = agree(link, Plan({}), "gather", [had[link.rank]] * link.world)
        arrived = link.gather(had[link.rank], coming.sizes, coming.begun)
        whole.append(all(map(torch.equal, arrived, had)))
    return whole


def noise(seed: int, count: int) -> Tensor:
    return torch.randint(256, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def untold(group: Any, settling: bool) -> None:
    """On rank 1 a bucket fails after its last exchange; the others are at the next, or at the end of the step."""
    carrier = Carrier(TorchLink.beside(group))
    if carrier.link.rank == 1:
        carrier.failed(KeyError("a"))
    if not settling:
        exchange = start("sum", Raw(), torch.ones(3), Place(carrier.link.rank, carrier.link.world), 0, {})
        carrier.carry(driven({"w": exchange}, carrier.link.world), Plan({"w": "Raw()"}))
    carrier.settle(Plan({"the step": "1"}))
