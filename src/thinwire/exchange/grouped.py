"""Tensors that one sparse codec takes, as one: each is selected by itself, all are coded, sent and added at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, encode, encode_parts
from thinwire.codec.encoding import must_be_lossless
from thinwire.codecs.raw import Raw
from thinwire.codecs.sparse.pairs import Chosen, Sparse, Sparsifier, kept_count
from thinwire.exchange.gathers import exchanged, rank_seed
from thinwire.exchange.joint import joint_values
from thinwire.exchange.requests import Average, Exchange, Place
from thinwire.exchange.scattered import Pair, Scattered
from thinwire.exchange.selected import Selected
from thinwire.kernels import fresh
from thinwire.kernels.gaps import ascending

_PAIRS = Sparse()
_ROOM = 512
"""Bytes that a group may take beyond its dense tensors'. In another bucket a tensor of a few elements may be alone, and
has to come to the same there; every rank has room for more."""


@dataclass(frozen=True, eq=False)
class Member:
    """One tensor of a group: its spec, the seed that it has on all ranks, and what its codec remembers."""

    spec: Spec
    seed: int
    history: State


class Group:
    """Tensors of one dtype and one codec for which ``groups`` holds, at one rank.

    ``tensors`` are name -> contiguous view of ``flat``, for the caller to fill and then to ``select`` from, each.
    """

    def __init__(self, codec: Codec, members: Mapping[str, Member], place: Place) -> None:
        assert isinstance(codec, Sparsifier)
        self._codec, self._members, self._place = codec, members, place
        self._sizes = [member.spec.numel for member in members.values()]
        self._starts = dict(zip(members, accumulate(self._sizes, initial=0), strict=False))
        self.flat = fresh.empty((sum(self._sizes),), next(iter(members.values())).spec.dtype)
        self.tensors = self._views(self.flat)
        self._chosen: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        self._histories: dict[str, State] = {}

    def select(self, names: Sequence[str], squares: Sequence[float | None]) -> None:
        """Select from consecutive tensors as their codec does; ``squares``: the energy of each, where it is known.

        Of one that has to go without loss, all that is not zero. Raises NonFiniteError.
        """
        flats = [self.tensors[name].view(-1) for name in names]
        whole = [must_be_lossless(self._codec, *one) for one in zip(flats, squares, strict=True)]
        for name, flat, found in zip(names, flats, self._found(names, flats, whole), strict=True):
            self._chosen[name], self._histories[name] = found
            self._values[name] = flat[found[0]]  # while the tensor is in the cache

    def _found(
        self, names: Sequence[str], flats: Sequence[Tensor], whole: Sequence[bool]
    ) -> Iterable[tuple[Tensor, State]]:
        """Return where what is sent of each is, and what to remember: all in one call unless one goes ``whole``."""
        members = [self._members[name] for name in names]
        seeds = [rank_seed(member.seed, self._place) for member in members]
        histories = [member.history for member in members]
        if not any(whole):
            return self._codec.select_each(self.between(names), list(map(len, flats)), seeds, histories)
        each = zip(flats, seeds, histories, whole, strict=True)
        return [(x.nonzero().view(-1), {}) if all_ else self._codec.select(x, s, h) for x, s, h, all_ in each]

    def between(self, names: Sequence[str]) -> Tensor:
        """Return consecutive tensors as one, flat: a view."""
        first = self._starts[names[0]]
        return self.flat[first : first + sum(self._members[name].spec.numel for name in names)]

    def exchange(self) -> Exchange:
        """Average ``flat``. Raises WireError where a rank sent what cannot be decoded."""
        average = yield from exchanged(self._encoded(), self._codec, self._place, {})
        if isinstance(average.whole, Scattered):
            for indices, _ in average.whole.pairs:
                ascending(indices, self.flat.numel(), Sparse.id)
        return average

    def _encoded(self) -> Encoded:
        chosen = [self._chosen[name] for name in self._members]
        values = joint_values(self._codec.values, tuple(map(len, chosen)))
        assert values is not None
        places = torch.cat([part + start for part, start in zip(chosen, self._starts.values(), strict=True)])
        elements = torch.cat([self._values[name] for name in self._members])
        encoded, _ = encode_parts(Chosen(places, elements, values, self._codec.indices), self.flat, 0, {})
        return encoded if encoded.payload_bytes <= encoded.spec.nbytes + _ROOM else encode(Raw(), self.flat)

    def apart(self, average: Average) -> dict[str, Average]:
        """Return each tensor's own part of what the ``exchange`` came to."""
        if not isinstance(average.whole, Scattered):
            means, sent = self._views(average.mean), self._views(average.contributed)
            return {name: self._part(name, means[name], sent[name], x.numel()) for name, x in means.items()}
        cut = zip(*(self._cut(pair) for pair in average.whole.pairs), strict=True)
        return {name: self._sparse_part(name, pairs) for name, pairs in zip(self._members, cut, strict=True)}

    def left_(self, average: Average) -> dict[str, Tensor]:
        """Turn the ``tensors`` into what was not sent of them."""
        if isinstance(average.sent, Encoded):
            average.sent.codec.subtract_(self.flat, average.sent)
        else:
            self.flat -= average.sent
        return self.tensors

    def _sparse_part(self, name: str, pairs: Sequence[Pair]) -> Average:
        spec, (indices, values) = self._members[name].spec, pairs[self._place.rank]
        sent = Encoded(_PAIRS, spec, {"values": values, "indices": indices}, size=len(indices))
        return self._part(name, Scattered(spec, pairs), sent, len(indices))

    def _part(self, name: str, whole: Tensor | Scattered, sent: Tensor | Encoded, kept: int) -> Average:
        density = getattr(self._codec, "density", None)
        wanted = kept if density is None else kept_count(density, self._members[name].spec.numel)
        return Average(whole, sent, self._histories[name], Selected(kept, wanted))

    def _cut(self, pair: Pair) -> list[Pair]:
        """Return what of a pair is each tensor's, by indices of its own."""
        indices, values = pair
        bounds = torch.searchsorted(indices, torch.tensor([*self._starts.values()][1:], dtype=torch.int64)).tolist()
        counts = [end - start for start, end in zip([0, *bounds], [*bounds, len(indices)], strict=True)]
        own = zip(torch.split(indices, counts), self._starts.values(), strict=True)
        return list(zip([part - start for part, start in own], torch.split(values, counts), strict=True))

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        parts = zip(self._members.items(), torch.split(flat, self._sizes), strict=True)
        return {name: part.view(member.spec.shape) for (name, member), part in parts}
