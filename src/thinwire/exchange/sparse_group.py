"""Tensors that one sparse codec takes, as one: each is selected by itself, all are coded, sent and added at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, encode, encode_parts
from thinwire.codec.encoding import must_be_lossless
from thinwire.codecs.raw import Raw
from thinwire.codecs.sparse.pairs import Chosen, Sparse, Sparsifier, kept_count
from thinwire.exchange.choice import chosen
from thinwire.exchange.gathers import exchanged, rank_seed
from thinwire.exchange.group import Group, Member
from thinwire.exchange.joint import joint_values
from thinwire.exchange.requests import Average, Exchange, Place
from thinwire.exchange.scattered import Pair, Scattered
from thinwire.exchange.selected import Selected
from thinwire.kernels.gaps import ascending

_PAIRS = Sparse()
_ROOM = 512
"""Bytes that a group may take beyond its dense tensors'. In another bucket a tensor of a few elements may be alone, and
has to come to the same there; every rank has room for more."""


class SparseGroup(Group):
    """Tensors of one sparse codec, gathered as one ``Sparse``."""

    def __init__(self, codec: Codec, members: Mapping[str, Member], place: Place) -> None:
        super().__init__(codec, members, place)
        assert isinstance(codec, Sparsifier)
        self._rule = codec
        self._chosen: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        self._histories: dict[str, State] = {}

    @staticmethod
    def takes(codec: Codec, spec: Spec, world: int) -> bool:
        """Those whose values go without loss or by evenly spaced levels, of which each tensor has its own."""
        if not isinstance(codec, Sparsifier) or chosen(codec, spec, world).name != "gather":
            return False
        return spec.dtype == spec.working and codec.indices.lossless and joint_values(codec.values, ()) is not None

    def select(self, names: Sequence[str], squares: Sequence[float | None]) -> None:
        """Select from consecutive tensors as their codec does; ``squares``: the energy of each, where it is known.

        Of one that has to go without loss, all that is not zero. Raises NonFiniteError.
        """
        flats = [self.tensors[name].view(-1) for name in names]
        whole = [must_be_lossless(self._rule, *one) for one in zip(flats, squares, strict=True)]
        for name, flat, found in zip(names, flats, self._found(names, flats, whole), strict=True):
            self._chosen[name], self._histories[name] = found
            self._values[name] = flat[found[0]]  # while the tensor is in the cache

    def _found(
        self, names: Sequence[str], flats: Sequence[Tensor], whole: Sequence[bool]
    ) -> Iterable[tuple[Tensor, State]]:
        """Return where what is sent of each is, and what to remember: all in one call unless one goes ``whole``."""
        members = [self.members[name] for name in names]
        seeds = [rank_seed(member.seed, self.place) for member in members]
        histories = [member.history for member in members]
        if not any(whole):
            return self._rule.select_each(self.between(names), list(map(len, flats)), seeds, histories)
        each = zip(flats, seeds, histories, whole, strict=True)
        return [(x.nonzero().view(-1), {}) if all_ else self._rule.select(x, s, h) for x, s, h, all_ in each]

    def exchange(self) -> Exchange:
        """Average ``flat``. Raises WireError where a rank sent what cannot be decoded."""
        average = yield from exchanged(self._encoded(), self._rule, self.place, {})
        if isinstance(average.whole, Scattered):
            for indices, _ in average.whole.pairs:
                ascending(indices, self.flat.numel(), Sparse.id)
        return average

    def _encoded(self) -> Encoded:
        parts = [self._chosen[name] for name in self.members]
        values = joint_values(self._rule.values, tuple(map(len, parts)))
        assert values is not None
        places = torch.cat([part + start for part, start in zip(parts, self.starts.values(), strict=True)])
        elements = torch.cat([self._values[name] for name in self.members])
        encoded, _ = encode_parts(Chosen(places, elements, values, self._rule.indices), self.flat, 0, {})
        return encoded if encoded.payload_bytes <= encoded.spec.nbytes + _ROOM else encode(Raw(), self.flat)

    def apart(self, average: Average) -> dict[str, Average]:
        """Return each tensor's own part of what the ``exchange`` came to."""
        if not isinstance(average.whole, Scattered):
            means, sent = self.views(average.mean), self.views(average.contributed)
            return {name: self._part(name, means[name], sent[name], x.numel()) for name, x in means.items()}
        cut = zip(*(self._cut(pair) for pair in average.whole.pairs), strict=True)
        return {name: self._sparse_part(name, pairs) for name, pairs in zip(self.members, cut, strict=True)}

    def _sparse_part(self, name: str, pairs: Sequence[Pair]) -> Average:
        spec, (indices, values) = self.members[name].spec, pairs[self.place.rank]
        sent = Encoded(_PAIRS, spec, {"values": values, "indices": indices}, size=len(indices))
        return self._part(name, Scattered(spec, pairs), sent, len(indices))

    def _part(self, name: str, whole: Tensor | Scattered, sent: Tensor | Encoded, kept: int) -> Average:
        density = getattr(self._rule, "density", None)
        wanted = kept if density is None else kept_count(density, self.members[name].spec.numel)
        return Average(whole, sent, self._histories[name], Selected(kept, wanted))

    def _cut(self, pair: Pair) -> list[Pair]:
        """Return what of a pair is each tensor's, by indices of its own."""
        indices, values = pair
        bounds = torch.searchsorted(indices, torch.tensor([*self.starts.values()][1:], dtype=torch.int64)).tolist()
        counts = [end - start for start, end in zip([0, *bounds], [*bounds, len(indices)], strict=True)]
        own = zip(torch.split(indices, counts), self.starts.values(), strict=True)
        return list(zip([part - start for part, start in own], torch.split(values, counts), strict=True))
