"""Two shots: every rank averages a shard and tells all ranks the mean. The volume does not grow with their number.

The scatter-reduce and all-gather of 1-bit Adam's compressed all-reduce (Tang et al. 2021, arXiv:2102.02888) and of CGX
(Markov et al. 2022, arXiv:2111.08617), with the second error kept by the owner of the shard (as in DoubleSqueeze: Tang
et al. 2019, arXiv:1905.05957).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, decode, derive_seed, encode_with_history, forget
from thinwire.errors import WireError
from thinwire.exchange.gathers import mean_of, own, rank_seed
from thinwire.exchange.requests import AllToAll, Average, Exchange, Gather, Place, Request
from thinwire.exchange.selected import NOTHING, Selected, selected
from thinwire.kernels.distortion import all_finite
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
    spec, specs = Spec.of(x), shards(Spec.of(x), place.world)
    flats = torch.split(x.detach().reshape(-1), [shard.numel for shard in specs])
    pieces = [flat.view(shard.shape) for flat, shard in zip(flats, specs, strict=True)]
    done = yield from shots([codec] * place.world, pieces, place, rank_seed(seed, place), history)
    return Average(_joined(done.means, spec), _joined(done.contributed, spec), done.history, done.selected)


@dataclass(frozen=True, eq=False)
class Shots:
    """What both shots came to: the mean of every piece and what this rank put into it, in the working dtype."""

    means: Sequence[Tensor]
    contributed: Sequence[Tensor]
    history: State
    selected: Selected


def shots(
    codecs: Sequence[Codec], pieces: Sequence[Tensor], place: Place, seed: int, history: State
) -> Generator[Request, list[Any], Shots]:
    """Average as many pieces as there are ranks, each by its codec at the rank of its number. Raises as ``two_shot``.

    All pieces are of one float dtype; ``seed`` is this rank's own.
    """
    specs, mine = tuple(map(Spec.of, pieces)), codecs[place.rank]
    encoded, kept = _encoded_pieces(codecs, pieces, seed, history)
    replies: list[Encoded] = yield AllToAll(tuple(map(forget, encoded)), specs[place.rank])
    contributed = [own(each) for each in encoded]
    mean = mean_of(replies, {place.rank: contributed[place.rank]}, mine)
    again, past = _second(mine, saturate(mean, specs[place.rank].dtype), seed, history)
    sent: list[Encoded] = yield Gather(forget(again), specs)
    means = [own(again) if rank == place.rank else _told(each, mine) for rank, each in enumerate(sent)]
    contributed[place.rank] = contributed[place.rank] - (mean - means[place.rank]) * place.world
    counts = (selected(codec, each) for codec, each in zip(codecs, encoded, strict=True))
    return Shots(means, contributed, kept | past, sum(counts, NOTHING))


def _told(mean: Encoded, codec: Codec) -> Tensor:
    """Return the mean that another rank sent. Raises WireError where it is not finite although ``codec`` is lossy."""
    x = decode(mean)
    if mean.codec.lossless and not codec.lossless and not all_finite(x):
        raise WireError("a mean is not finite: its rank sent NaN or infinity")
    return x


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


def _encoded_pieces(
    codecs: Sequence[Codec], pieces: Sequence[Tensor], seed: int, history: State
) -> tuple[list[Encoded], State]:
    """Return the pieces and what their codecs remember of each, under the piece's number."""
    encoded, kept = [], State()
    for at, (codec, piece) in enumerate(zip(codecs, pieces, strict=True)):
        one, past = _remembering(codec, piece, derive_seed(seed, f"shard {at}"), history, str(at))
        encoded.append(one)
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
