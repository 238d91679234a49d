"""Tensors that one codec takes, as one: each comes to what it would alone, for far fewer small operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State
from thinwire.exchange.requests import Average, Exchange, Place
from thinwire.kernels import fresh


@dataclass(frozen=True, eq=False)
class Member:
    """One tensor of a group: its spec, the seed that it has on all ranks, and what its codec remembers."""

    spec: Spec
    seed: int
    history: State


class Group(ABC):
    """Tensors of one dtype and one codec, which ``takes`` each, at one rank.

    ``tensors`` are name -> contiguous view of ``flat``, for the caller to fill and then to ``select`` from, each.
    """

    def __init__(self, codec: Codec, members: Mapping[str, Member], place: Place) -> None:
        self.codec, self.members, self.place = codec, members, place
        self._sizes = [member.spec.numel for member in members.values()]
        self.starts = dict(zip(members, accumulate(self._sizes, initial=0), strict=False))
        self.flat = fresh.empty((sum(self._sizes),), next(iter(members.values())).spec.dtype)
        self.tensors = self.views(self.flat)

    @staticmethod
    @abstractmethod
    def takes(codec: Codec, spec: Spec, world: int) -> bool:
        """Return whether a tensor may join others of its codec and dtype, and comes to the same in whatever company."""

    @abstractmethod
    def select(self, names: Sequence[str], squares: Sequence[float | None]) -> None:
        """Do what is best done with consecutive tensors while they are in the cache; ``squares``: their energies.

        Raises NonFiniteError.
        """

    @abstractmethod
    def exchange(self) -> Exchange:
        """Average ``flat``. Raises WireError where a rank sent what cannot be decoded."""

    def between(self, names: Sequence[str]) -> Tensor:
        """Return consecutive tensors as one, flat: a view."""
        first = self.starts[names[0]]
        return self.flat[first : first + sum(self.members[name].spec.numel for name in names)]

    def apart(self, average: Average) -> dict[str, Average]:
        """Return each tensor's own part of what the ``exchange`` came to."""
        means, sent = self.views(average.mean), self.views(average.contributed)
        return {name: Average(mean, sent[name], {}) for name, mean in means.items()}

    def left_(self, average: Average) -> dict[str, Tensor]:
        """Turn the ``tensors`` into what was not sent of them."""
        if isinstance(average.sent, Encoded):
            average.sent.codec.subtract_(self.flat, average.sent)
        else:
            self.flat -= average.sent
        return self.tensors

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the tensors that ``flat`` is the concatenation of."""
        parts = zip(self.members.items(), torch.split(flat, self._sizes), strict=True)
        return {name: part.view(member.spec.shape) for (name, member), part in parts}
