"""Everybody's encoded tensor to everybody: one encoding, one error. The volume grows with the number of ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from thinwire.codec import Codec, Encoded, State, decode, derive_seed, encode_with_history, forget
from thinwire.errors import WireError
from thinwire.exchange.requests import Average, Exchange, Gather, Place
from thinwire.exchange.scattered import Pair, Scattered, checked_pair
from thinwire.exchange.selected import selected
from thinwire.exchange.sums import added
from thinwire.kernels.distortion import all_finite


def gathered(
    codec: Codec, x: Tensor, place: Place, seed: int, history: State, squares: float | None = None
) -> Exchange:
    """Average a float tensor by any codec. Sparse ones are added in as many operations as they sent elements.

    Raises NonFiniteError where the codec is lossy and x is not finite, WireError where a rank sent what cannot be
    decoded.
    """
    encoded, history = encode_with_history(codec, x, rank_seed(seed, place), history, squares)
    return (yield from exchanged(encoded, codec, place, history))


def exchanged(encoded: Encoded, codec: Codec, place: Place, history: State) -> Exchange:
    """Average what ``codec`` made of each rank's tensor. Raises WireError."""
    replies: list[Encoded] = yield Gather(forget(encoded), (encoded.spec,) * place.world)
    mine, counts = _decoded_values(encoded), selected(codec, encoded)
    pairs = [mine.codec.nonzeros(mine) if rank == place.rank else _pair(reply) for rank, reply in enumerate(replies)]
    if None not in pairs:
        return Average(Scattered(encoded.spec, [pair for pair in pairs if pair]), mine, history, counts)
    contributed = own(encoded)
    return Average(mean_of(replies, {place.rank: contributed}, codec), contributed, history, counts)


def _decoded_values(encoded: Encoded) -> Encoded:
    """Return what was encoded with the values of a sparse codec as they decode: they are asked for several times."""
    pair = encoded.codec.nonzeros(encoded)
    return replace(encoded, known={**encoded.known, "values": pair[1]}) if pair else encoded


def _pair(encoded: Encoded) -> Pair | None:
    """Return what another rank's sparse codec sent, safe to add; None for another codec. Raises WireError."""
    pair = encoded.codec.nonzeros(encoded)
    return checked_pair(pair, encoded.spec) if pair else None


def rank_seed(seed: int, place: Place) -> int:
    """Return a rank's own seed: random rounding must differ between ranks, or its errors would not average out."""
    return derive_seed(seed, f"rank {place.rank}")


def own(encoded: Encoded) -> Tensor:
    """Return what all ranks decode of one's own, in the working dtype; parts still known are not decoded again."""
    return decode(replace(encoded, parts={**encoded.parts, **encoded.known}, known={})).to(encoded.spec.working)


def mean_of(replies: Sequence[Encoded], decoded: Mapping[int, Tensor], codec: Codec) -> Tensor:
    """Return the mean of what the ranks sent, in the working dtype; ``decoded`` is what one has of it.

    It is finite where all that they sent is. Raises WireError where it is not although ``codec`` is lossy.
    """
    mean = _total(replies, decoded).div_(len(replies))
    if all_finite(mean):
        return mean
    # Perhaps it was the sum that overflowed.
    parts = (decoded[rank] if rank in decoded else decode(reply) for rank, reply in enumerate(replies))
    mean = added([part.to(mean.dtype) / len(replies) for part in parts])
    if not codec.lossless and not all_finite(mean):
        raise WireError("the mean is not finite: a rank sent NaN or infinity")
    return mean


def _total(replies: Sequence[Encoded], decoded: Mapping[int, Tensor]) -> Tensor:
    """Return the sum of what the ranks sent, in rank order."""
    total = _first(replies[0], decoded.get(0))
    for rank, reply in enumerate(replies[1:], 1):
        sparse = None if rank in decoded else reply.codec.nonzeros(reply)
        if sparse is None:
            total += decoded[rank] if rank in decoded else decode(reply)
        else:
            _add_at(total.view(-1), *sparse)
    return total


def _first(reply: Encoded, decoded: Tensor | None) -> Tensor:
    """Return what rank 0 sent, in a tensor that may be added to."""
    return decode(reply).to(reply.spec.working) if decoded is None else decoded.clone()


def _add_at(total: Tensor, indices: Tensor, values: Tensor) -> None:
    low, high = indices.aminmax() if indices.numel() else (0, -1)
    if low < 0 or high >= total.numel():
        raise WireError(f"indices from {int(low)} to {int(high)} into a tensor of {total.numel()} elements")
    total.index_add_(0, indices, values.to(total.dtype))
