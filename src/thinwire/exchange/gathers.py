"""Everybody's encoded tensor to everybody: one encoding, one error. The volume grows with the number of ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from thinwire.codec import Codec, Encoded, State, decode, derive_seed, encode_with_history, forget
from thinwire.errors import WireError
from thinwire.exchange.requests import Average, Exchange, Gather, Place
from thinwire.kernels import fresh
from thinwire.kernels.distortion import all_finite


def gathered(codec: Codec, x: Tensor, place: Place, seed: int, history: State) -> Exchange:
    """Average a float tensor by any codec. Sparse ones are added in as many operations as they sent elements.

    Raises NonFiniteError where the codec is lossy and x is not finite, WireError where a rank sent what cannot be
    decoded.
    """
    encoded, history = encode_with_history(codec, x, rank_seed(seed, place), history)
    replies: list[Encoded] = yield Gather(forget(encoded), (encoded.spec,) * place.world)
    contributed = own(encoded)
    total = total_of(replies, {place.rank: contributed})
    return Average(checked(total.div_(place.world), codec), contributed, history)


def rank_seed(seed: int, place: Place) -> int:
    """Return a rank's own seed: random rounding must differ between ranks, or its errors would not average out."""
    return derive_seed(seed, f"rank {place.rank}")


def own(encoded: Encoded) -> Tensor:
    """Return what all ranks decode of one's own, in the working dtype; parts still known are not decoded again."""
    return decode(replace(encoded, parts={**encoded.parts, **encoded.known}, known={})).to(encoded.spec.working)


def total_of(replies: Sequence[Encoded], decoded: Mapping[int, Tensor]) -> Tensor:
    """Return the sum of what the ranks sent, in rank order, in the working dtype; ``decoded`` is what one has of it."""
    total = fresh.zeros(replies[0].spec.shape, replies[0].spec.working)
    for rank, reply in enumerate(replies):
        sparse = None if rank in decoded else reply.codec.nonzeros(reply)
        if sparse is None:
            total += decoded[rank] if rank in decoded else decode(reply)
        else:
            _add_at(total.view(-1), *sparse)
    return total


def checked(mean: Tensor, codec: Codec) -> Tensor:
    """Return the mean. Raises WireError where it is not finite although a lossy codec sends finite numbers only."""
    if not codec.lossless and not all_finite(mean):
        raise WireError("the mean is not finite: a rank sent NaN or infinity, or numbers whose sum overflows")
    return mean


def _add_at(total: Tensor, indices: Tensor, values: Tensor) -> None:
    low, high = indices.aminmax() if indices.numel() else (0, -1)
    if low < 0 or high >= total.numel():
        raise WireError(f"indices from {int(low)} to {int(high)} into a tensor of {total.numel()} elements")
    total.index_add_(0, indices, values.to(total.dtype))
