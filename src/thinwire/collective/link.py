"""A group of ranks and the bytes that go between them: sent, received and counted here, and nowhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store

from thinwire.collective.loopback import device_of
from thinwire.collective.peers import Peers
from thinwire.exchange.sums import added
from thinwire.kernels.narrow import saturate

E = TypeVar("E", bound=Exception)
Begun = Sequence[Tensor]
"""By rank, what arrived of a message before its size was known; bytes after its end mean nothing."""
_HEAD_BYTES = 64
_EARLY_LEAST, _EARLY_MOST, _EARLY_ALL = 1 << 12, 1 << 18, 1 << 23
"""Bytes of a message that go ahead: of any number of ranks, of few, and of all peers together, for memory's sake."""


class TorchLink:
    """Exchanges between all ranks of a gloo group of its own.

    Bytes go straight between pairs of ranks; what a rank has for itself never leaves it. A peer that died or stays
    silent raises torch's RuntimeError, at the latest after the group's time-out. One thread at a time.
    """

    def __init__(self, group: dist.ProcessGroupGloo) -> None:
        self.rank, self.world = group.rank(), group.size()
        self.early_bytes = max(_EARLY_LEAST, min(_EARLY_MOST, _EARLY_ALL // self.world))
        """What ``tell`` takes along of what comes next, at most."""
        self.peers = Peers(group, _HEAD_BYTES + 8 * self.world + self.early_bytes)
        self.sent_bytes: Counter[str] = Counter()
        """Bytes handed to the transport, by kind: terms, sum, gather, all-to-all."""
        self.received_bytes: Counter[str] = Counter()
        self.rounds = 0
        """Times the link's latency so far: one where ranks tell, two where they swap, as gloo asks first."""
        self.seconds = 0.0
        """Wall-clock time in here, waiting for peers included."""
        self._broken: Exception | None = None

    @classmethod
    def beside(cls, group: dist.ProcessGroup) -> TorchLink:
        """Return a new link between the ranks of a group, of its time-out; all of its ranks must call this.

        It listens on loopback only where all ranks are on one machine and the user named no interface.
        ``new_group`` would need every rank of the world, also those outside of ``group``, or take names that depend on
        which other groups a rank is in.
        """
        store = dist.distributed_c10d._get_default_store()
        number = torch.tensor(store.add("thinwire/links", 1), device=_device(group))
        dist.broadcast(number, dist.get_global_rank(group, 0), group)
        own = dist.PrefixStore(f"thinwire/links/{int(number)}", store)  # type: ignore[attr-defined]
        link = cls(_gloo(own, group))
        # A rank that were done with its link at once would close what others still connect.
        link.peers.write(dict.fromkeys(link.peers.ranks, torch.zeros(1, dtype=torch.uint8)))
        return link

    def tell(self, head: Tensor, kind: str, outgoing: Sequence[Tensor]) -> tuple[list[Tensor], Begun]:
        """Tell all ranks ``head`` (1-D uint8, as long on all, at most 64 bytes and 8 a rank); return those of all.

        With it goes the beginning of ``outgoing[r]``, for rank r: what is returned of that is for the next ``swap``.
        """
        if self.world == 1:
            return [head], [head[:0]]
        with self._transport():
            early = [piece[: self.early_bytes] for piece in outgoing]
            arrived = self.peers.write({rank: torch.cat([head, early[rank]]) for rank in self.peers.ranks})
        self.sent_bytes["terms"] += (self.world - 1) * len(head)
        self.received_bytes["terms"] += (self.world - 1) * len(head)
        self.sent_bytes[kind] += sum(len(early[rank]) for rank in self.peers.ranks)
        self.rounds += 1
        heads = [arrived[rank][: len(head)].clone() if rank in arrived else head for rank in range(self.world)]
        return heads, [arrived[rank][len(head) :] if rank in arrived else head[:0] for rank in range(self.world)]

    def swap(
        self, kind: str, outgoing: Sequence[Tensor], sizes: Sequence[int], begun: Begun | None = None
    ) -> list[Tensor]:
        """Send ``outgoing[r]`` (1-D uint8) to each rank r; return what each had for this one, of ``sizes[r]`` bytes.

        ``begun``: what ``tell`` took along of it, on all ranks.
        """
        if self.world == 1:
            return list(outgoing)
        ahead = self.early_bytes if begun else 0
        leaving = {rank: outgoing[rank][ahead:] for rank in self.peers.ranks}
        arrived = {rank: torch.empty(sizes[rank], dtype=torch.uint8) for rank in self.peers.ranks}
        for rank, piece in arrived.items():
            piece[:ahead] = begun[rank][: min(ahead, len(piece))] if begun else piece[:0]
        rest = {rank: piece[ahead:] for rank, piece in arrived.items()}
        with self._transport():
            self.peers.ship(leaving, rest)
        self.sent_bytes[kind] += sum(map(len, leaving.values()))
        self.received_bytes[kind] += sum(map(len, arrived.values()))
        self.rounds += 2 * any(map(len, (*leaving.values(), *rest.values())))
        return [outgoing[rank] if rank == self.rank else arrived[rank] for rank in range(self.world)]

    def broken(self, error: E) -> E:
        """Exchange nothing from now on, because of an error, which is returned: nobody could tell what bytes mean.

        Connections are closed, which ends the waiting of the others.
        """
        if self._broken is None:
            self._broken = error
            self.peers.close()
        return error

    @contextmanager
    def _transport(self) -> Iterator[None]:
        """Once a peer was waited for in vain, wait no more: the rest of a step would take a time-out a bucket."""
        if self._broken is not None:
            raise RuntimeError(f"the link to the other ranks is broken: {self._broken}")
        started = time.perf_counter()
        try:
            yield
        except RuntimeError as error:
            raise self.broken(error) from None
        self.seconds += time.perf_counter() - started

    def gather(self, data: Tensor, sizes: Sequence[int], begun: Begun | None = None) -> list[Tensor]:
        """Return the bytes of all ranks, in rank order; ``sizes`` are their numbers."""
        return self.swap("gather", [data] * self.world, sizes, begun)

    def all_to_all(self, data: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Send ``data[r]`` to rank r; return what every rank had for this one, of ``sizes[r]`` bytes."""
        return self.swap("all-to-all", data, sizes)

    def to_sum(self, flat: Tensor) -> list[Tensor]:
        """Return the bytes of a contiguous 1-D tensor that each rank adds up: two ranks tell each other all at once."""
        return [_raw(flat)] * 2 if self.world == 2 else [_raw(shard) for shard in flat.tensor_split(self.world)]

    def sum_all(self, flat: Tensor, begun: Begun | None = None) -> Tensor:
        """Replace a contiguous 1-D float tensor by its sum over all ranks, and return it; ``begun``: of ``to_sum``.

        Added in float32 (float64 for float64) in the order of the ranks: an element's sum does not depend on where in
        ``flat`` it stands, as in a ring it would, so other buckets give the same bits. Each rank sends what it does in
        a ring: ``2 (N - 1) / N`` of the tensor.
        """
        outgoing = self.to_sum(flat)
        own = outgoing[self.rank].view(flat.dtype)
        parts = self.swap("sum", outgoing, [_raw(own).numel()] * self.world, begun)
        own.copy_(saturate(added([part.view(flat.dtype) for part in parts]), flat.dtype))
        if self.world == 2:
            return flat
        shards = flat.tensor_split(self.world)
        sums = self.swap("sum", [_raw(own)] * self.world, [_raw(shard).numel() for shard in shards])
        for shard, part in zip(shards, sums, strict=True):
            shard.copy_(part.view(flat.dtype))
        return flat


def _gloo(store: Store, group: dist.ProcessGroup) -> dist.ProcessGroupGloo:
    """Return another gloo group of a group's ranks; all of them call this."""
    rank, world, device = dist.get_rank(group), dist.get_world_size(group), device_of(group, _device(group))
    if device is None:
        return dist.ProcessGroupGloo(store, rank, world, _timeout(group))
    options = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._devices, options._timeout = [device], _timeout(group)
    return dist.ProcessGroupGloo(store, rank, world, options)


def _timeout(group: dist.ProcessGroup) -> timedelta:
    """Return the time-out of a group's transport; torch's usual one where it does not tell."""
    options = getattr(group._get_backend(_device(group)), "options", None)
    return getattr(options, "_timeout", dist.default_pg_timeout)


def _device(group: dist.ProcessGroup) -> torch.device:
    return torch.device("cuda" if dist.get_backend(group) == "nccl" else "cpu")


def _raw(flat: Tensor) -> Tensor:
    return flat.view(torch.uint8)
