"""A group of ranks and the bytes that go between them: sent, received and counted here, and nowhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from thinwire.exchange.sums import added
from thinwire.kernels.narrow import saturate

E = TypeVar("E", bound=Exception)


class TorchLink:
    """Exchanges between all ranks of a gloo group of its own.

    Every exchange is one all-to-all of exact sizes, empty ones included; what a rank has for itself never leaves it.
    A peer that died or stays silent raises torch's RuntimeError, at the latest after the group's time-out.
    One thread at a time: collectives of one group must come in one order.
    """

    def __init__(self, group: dist.ProcessGroupGloo) -> None:
        self.group = group
        self.rank, self.world = group.rank(), group.size()
        self.sent_bytes: Counter[str] = Counter()
        """Bytes handed to the transport, by kind: terms, sum, gather, all-to-all."""
        self.received_bytes: Counter[str] = Counter()
        self.rounds = 0
        """Exchanges so far: each takes the link's latency once."""
        self.seconds = 0.0
        """Wall-clock time in here, waiting for peers included."""
        self._broken: Exception | None = None

    @classmethod
    def beside(cls, group: dist.ProcessGroup) -> TorchLink:
        """Return a new link between the ranks of a group, of its time-out; all of its ranks must call this.

        ``new_group`` would need every rank of the world, also those outside of ``group``, or take names that depend on
        which other groups a rank is in.
        """
        store = dist.distributed_c10d._get_default_store()
        number = torch.tensor(store.add("thinwire/links", 1), device=_device(group))
        dist.broadcast(number, dist.get_global_rank(group, 0), group)
        own = dist.PrefixStore(f"thinwire/links/{int(number)}", store)  # type: ignore[attr-defined]
        return cls(dist.ProcessGroupGloo(own, dist.get_rank(group), dist.get_world_size(group), _timeout(group)))

    def swap(self, kind: str, outgoing: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Send ``outgoing[r]`` (1-D uint8) to each rank r; return what each had for this one, of ``sizes[r]`` bytes."""
        if self.world == 1:
            return list(outgoing)
        started = time.perf_counter()
        leaving = [piece.new_empty(0) if rank == self.rank else piece for rank, piece in enumerate(outgoing)]
        lengths = [0 if rank == self.rank else size for rank, size in enumerate(sizes)]
        arrived = torch.empty(sum(lengths), dtype=torch.uint8)
        self._transport(arrived, torch.cat(leaving), lengths, [len(piece) for piece in leaving])
        self.sent_bytes[kind] += sum(map(len, leaving))
        self.received_bytes[kind] += len(arrived)
        self.rounds += 1
        self.seconds += time.perf_counter() - started
        return [*_with_own(torch.split(arrived, lengths), outgoing, self.rank)]

    def broken(self, error: E) -> E:
        """Exchange nothing from now on, because of an error, which is returned: nobody could tell what bytes mean.

        Connections are closed, which ends the waiting of the others.
        """
        if self._broken is None:
            self._broken = error
            del self.group
        return error

    def _transport(self, arrived: Tensor, leaving: Tensor, lengths: list[int], splits: list[int]) -> None:
        """Once a peer was waited for in vain, wait no more: the rest of a step would take a time-out a bucket."""
        if self._broken is not None:
            raise RuntimeError(f"the link to the other ranks is broken: {self._broken}")
        try:
            self.group.alltoall_base(arrived, leaving, lengths, splits).wait()  # type: ignore[attr-defined]
        except RuntimeError as error:
            raise self.broken(error) from None

    def gather(self, data: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Return the bytes of all ranks, in rank order; ``sizes`` are their numbers."""
        return self.swap("gather", [data] * self.world, sizes)

    def all_to_all(self, data: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Send ``data[r]`` to rank r; return what every rank had for this one, of ``sizes[r]`` bytes."""
        return self.swap("all-to-all", data, sizes)

    def sum_all(self, flat: Tensor) -> Tensor:
        """Replace a contiguous 1-D float tensor by its sum over all ranks, and return it.

        Added in float32 (float64 for float64) in the order of the ranks: an element's sum does not depend on where in
        ``flat`` it stands, as in a ring it would, so other buckets give the same bits. Each rank sends what it does in
        a ring: ``2 (N - 1) / N`` of the tensor. Two ranks tell each other all at once.
        """
        if self.world == 2:
            both = self.swap("sum", [_raw(flat)] * 2, [_raw(flat).numel()] * 2)
            return flat.copy_(added([part.view(flat.dtype) for part in both]))
        shards = flat.tensor_split(self.world)
        own = shards[self.rank]
        parts = self.swap("sum", [_raw(shard) for shard in shards], [_raw(own).numel()] * self.world)
        own.copy_(saturate(added([part.view(flat.dtype) for part in parts]), flat.dtype))
        sums = self.swap("sum", [_raw(own)] * self.world, [_raw(shard).numel() for shard in shards])
        for shard, part in zip(shards, sums, strict=True):
            shard.copy_(part.view(flat.dtype))
        return flat


def _timeout(group: dist.ProcessGroup) -> timedelta:
    """Return the time-out of a group's transport; torch's usual one where it does not tell."""
    options = getattr(group._get_backend(_device(group)), "options", None)
    return getattr(options, "_timeout", dist.default_pg_timeout)


def _device(group: dist.ProcessGroup) -> torch.device:
    return torch.device("cuda" if dist.get_backend(group) == "nccl" else "cpu")


def _with_own(arrived: Sequence[Tensor], outgoing: Sequence[Tensor], rank: int) -> list[Tensor]:
    return [outgoing[at] if at == rank else piece for at, piece in enumerate(arrived)]


def _raw(flat: Tensor) -> Tensor:
    return flat.view(torch.uint8)
