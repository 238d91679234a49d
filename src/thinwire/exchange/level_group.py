"""Tensors that one quantizer takes, as one: gathered, or averaged in two shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, encode_with_history
from thinwire.exchange.choice import chosen
from thinwire.exchange.gathers import exchanged
from thinwire.exchange.group import Group, Member
from thinwire.exchange.joint import is_evenly_spaced, joint_values
from thinwire.exchange.requests import Average, Exchange, Place
from thinwire.exchange.two_shot import shards, shots

_LEAST_BLOCK, _FEW = 16, 64
"""Elements that share a scale, and of a tensor in a piece: with fewer, levels might take more than the floats."""
_MANY = 1 << 17
"""Elements of a tensor in a piece: to copy more of them takes longer than operations of their own."""


class LevelGroup(Group):
    """Tensors of one quantizer, cut into a piece a rank; only one piece where they are gathered.

    A piece has the tensors' own shards, each filled up with its last element, so that no block has parts of two.
    """

    def __init__(self, codec: Codec, members: Mapping[str, Member], place: Place) -> None:
        super().__init__(codec, members, place)
        assert is_evenly_spaced(codec)
        self._block = codec.block if isinstance(codec.block, int) else 1
        self._cuts = [_cut(codec, member.spec, place.world) for member in members.values()]
        self._lengths = list(zip(*self._cuts, strict=True))
        self._codecs = [joint_values(codec, lengths) or codec for lengths in self._lengths]

    @staticmethod
    def takes(codec: Codec, spec: Spec, world: int) -> bool:
        """Those of evenly spaced levels, rounded to nearest, in blocks of elements or of the whole tensor."""
        if world == 1 or spec.dtype != spec.working or not is_evenly_spaced(codec):
            return False
        if not all(_FEW <= part <= _MANY for part in _cut(codec, spec, world)):
            return False
        return codec.block == "tensor" or (isinstance(codec.block, int) and codec.block >= _LEAST_BLOCK)

    def select(self, names: Sequence[str], squares: Sequence[float | None]) -> None:
        """Select nothing: all is sent."""

    def exchange(self) -> Exchange:
        """Average ``flat``. Raises WireError where a rank sent what cannot be decoded."""
        pieces = self._pieces()
        if len(pieces) == 1:
            encoded, _ = encode_with_history(self._codecs[0], pieces[0], 0, {})
            average = yield from exchanged(encoded, self.codec, self.place, {})
            return Average(self._whole([average.mean]), self._whole([average.contributed]), {})
        done = yield from shots(self._codecs, pieces, self.place, 0, {})
        return Average(self._whole(done.means), self._whole(done.contributed), {})

    def _pieces(self) -> list[Tensor]:
        both = zip(self.tensors.values(), self._cuts, strict=True)
        cut = [torch.split(x.view(-1), list(lengths)) for x, lengths in both]
        return [torch.cat(list(chain(*map(self._filled, parts)))) for parts in zip(*cut, strict=True)]

    def _filled(self, part: Tensor) -> tuple[Tensor, Tensor]:
        return part, part[-1:].expand(self._missing(len(part)))

    def _whole(self, pieces: Sequence[Tensor]) -> Tensor:
        """Return the tensors, one after the other, of all pieces of them."""
        cut = []
        for piece, lengths in zip(pieces, self._lengths, strict=True):
            both = chain(*((length, self._missing(length)) for length in lengths))
            cut.append(torch.split(piece, list(both))[::2])
        return torch.cat(list(chain(*zip(*cut, strict=True))))

    def _missing(self, length: int) -> int:
        """Return how many elements a part has less than whole blocks."""
        return -length % self._block


@cache
def _cut(codec: Codec, spec: Spec, world: int) -> tuple[int, ...]:
    """Return how many elements of a tensor are in each piece."""
    if chosen(codec, spec, world).name == "gather":
        return (spec.numel,)
    return tuple(shard.numel for shard in shards(spec, world))
