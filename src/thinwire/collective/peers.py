"""Messages between pairs of ranks over gloo: letters of a bounded length, and parcels whose size both ends know."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from thinwire.collective.lost import wait

_LETTER, _PARCEL = 1, 2


class Peers:
    """The other ranks of a gloo group.

    gloo sends once it heard, over the same connection, that the other end is ready to receive. So receives are posted
    before anything is sent: behind a rank's own data that word would wait, and the two directions take turns, as they
    do in gloo's all-to-all. And one receive a peer is always there, of ``most`` bytes, into one of two buffers: a
    letter leaves at once, where a parcel waits for the word first. A letter that is shorter is legal to gloo.
    """

    def __init__(self, group: dist.ProcessGroupGloo, most: int) -> None:
        self.group = group
        rank, world = group.rank(), group.size()
        self.ranks = [(rank + step) % world for step in range(1, world)]
        self._letters = {rank: torch.empty(2, most, dtype=torch.uint8).unbind() for rank in self.ranks}
        self._number = 0
        self._expected: dict[int, dist.Work] = {}
        self._expect_later()

    def write(self, letters: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Send each peer a letter; return the buffers with theirs, good until the next: the length is in what they say.

        RuntimeError that names a peer which is gone, or silent for the time-out of the group.
        """
        arriving = [(rank, partial(self._expecting, rank)) for rank in self.ranks]
        wait(arriving + [(rank, partial(self._send, letters[rank], rank, _LETTER)) for rank in self.ranks])
        self._expected.clear()
        arrived = {rank: both[self._number % 2] for rank, both in self._letters.items()}
        self._number += 1
        self._expect_later()
        return arrived

    def ship(self, leaving: Mapping[int, Tensor], arriving: Mapping[int, Tensor]) -> None:
        """Send rank -> 1-D bytes and fill rank -> 1-D bytes, where there are any. Raises as ``write`` does."""
        receives = [(rank, partial(self._receive, x, rank, _PARCEL)) for rank, x in arriving.items() if len(x)]
        wait(receives + [(rank, partial(self._send, x, rank, _PARCEL)) for rank, x in leaving.items() if len(x)])

    def close(self) -> None:
        """Close all connections."""
        self._expected.clear()
        del self.group

    def _expecting(self, rank: int) -> dist.Work:
        """Return the receive for the next letter of a peer; there is one."""
        if rank not in self._expected:
            self._expected[rank] = self._receive(self._letters[rank][self._number % 2], rank, _LETTER)
        return self._expected[rank]

    def _expect_later(self) -> None:
        """Have a receive for the next letter of each peer. Who has no more to say may be gone: that matters to a next
        letter only.
        """
        for rank in self.ranks:
            with suppress(RuntimeError):
                self._expecting(rank)

    def _send(self, data: Tensor, rank: int, tag: int) -> dist.Work:
        return self.group.send([data], rank, tag)  # type: ignore[attr-defined,no-any-return]

    def _receive(self, into: Tensor, rank: int, tag: int) -> dist.Work:
        return self.group.recv([into], rank, tag)  # type: ignore[attr-defined,no-any-return]
