"""Two shots: every rank averages a shard and tells all ranks the mean. The volume does not grow with their number.

The scatter-reduce and all-gather of 1-bit Adam's compressed all-reduce (Tang et al. 2021, arXiv:2102.02888) and of CGX
(Markov et al. 2022, arXiv:2111.08617), with the second error kept by the owner of the shard (as in DoubleSqueeze: Tang
et al. 2019, arXiv:1905.05957).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, decode, derive_seed, encode_with_history, forget
from thinwire.exchange.gathers import mean_of, own, rank_seed
from thinwire.exchange.requests import AllToAll, Average, Exchange, Gather, Place
from thinwire.exchange.selected import NOTHING, selected
from thinwire.kernels.narrow import saturate

_UNIT = 1024
_ROWS = 16
"""Whole rows are cut where every rank gets at least so many: no shard is then a sixteenth larger than it should be."""
_MEAN = "mean"


def two_shot(
    codec: Codec, x: Tensor, place: Place, seed: int, history: State, squares: float | None = None
) -> Exchange:
    """Average a float tensor by any codec, in shards. What a rank sends and receives is about twice one encoding.

    Shards are encoded, sent to their owners, averaged there, encoded again and gathered. What the second encoding loses
    counts as not contributed by the owner; what it selects is counted nowhere. Raises NonFiniteError where the codec is
    lossy and x is not finite, WireError where a rank sent what cannot be decoded.
    """
    specs, seed = shards(Spec.of(x), place.world), rank_seed(seed, place)
    encoded, kept = _encoded_shards(codec, x, specs, seed, history)
    mine = specs[place.rank]
    replies: list[Encoded] = yield AllToAll(tuple(map(forget, encoded)), mine)
    contributed = [own(each) for each in encoded]
    mean = mean_of(replies, {place.rank: contributed[place.rank]}, codec)
    again, past = _second(codec, saturate(mean, mine.dtype), seed, history)
    means: list[Encoded] = yield Gather(forget(again), specs)
    decoded = [own(again) if rank == place.rank else decode(each) for rank, each in enumerate(means)]
    contributed[place.rank] = contributed[place.rank] - (mean - decoded[place.rank]) * place.world
    counts = sum((selected(codec, each) for each in encoded), NOTHING)
    return Average(_joined(decoded, Spec.of(x)), _joined(contributed, Spec.of(x)), kept | past, counts)


def shards(spec: Spec, world: int) -> tuple[Spec, ...]:
    """Return the specs of ``world`` consecutive pieces of a tensor: whole rows where there are many, else flat.

    Flat pieces are multiples of 1024 elements where the tensor has as many for every rank. A piece may be empty.
    """
    if len(spec.shape) > 1 and spec.shape[0] >= _ROWS * world:
        return tuple(Spec((rows, *spec.shape[1:]), spec.dtype) for rows in _even(spec.shape[0], world, 1))
    unit = _UNIT if spec.numel >= _ROWS * _UNIT * world else 1
    return tuple(Spec((count,), spec.dtype) for count in _even(spec.numel, world, unit))


def _even(count: int, world: int, unit: int) -> list[int]:
    units = -(-count // unit)
    ends = [min((rank * units // world) * unit, count) for rank in range(world + 1)]
    return [end - start for start, end in pairwise(ends)]


def _encoded_shards(
    codec: Codec, x: Tensor, specs: Sequence[Spec], seed: int, history: State
) -> tuple[list[Encoded], State]:
    """Return the shards and what the codec remembers of each, under the shard's number."""
    flats = torch.split(x.detach().reshape(-1), [spec.numel for spec in specs])
    encoded, kept = [], State()
    for at, (flat, spec) in enumerate(zip(flats, specs, strict=True)):
        shard, past = _remembering(codec, flat.view(spec.shape), derive_seed(seed, f"shard {at}"), history, str(at))
        encoded.append(shard)
        kept |= past
    return encoded, kept


def _second(codec: Codec, mean: Tensor, seed: int, history: State) -> tuple[Encoded, State]:
    return _remembering(codec, mean, derive_seed(seed, _MEAN), history, _MEAN)


def _remembering(codec: Codec, x: Tensor, seed: int, history: State, owner: str) -> tuple[Encoded, State]:
    """Encode with the part of the history whose keys begin with ``owner`` and a dot."""
    prefix = f"{owner}."
    past = {key.removeprefix(prefix): value for key, value in history.items() if key.startswith(prefix)}
    encoded, past = encode_with_history(codec, x, seed, past)
    return encoded, {prefix + key: value for key, value in past.items()}


def _joined(pieces: Sequence[Tensor], spec: Spec) -> Tensor:
    return torch.cat([piece.reshape(-1).to(spec.working) for piece in pieces]).view(spec.shape)
