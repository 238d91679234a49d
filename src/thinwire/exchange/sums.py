"""Linear codecs: parts are summed over ranks and decoded once. The volume is that of one all-reduce of the parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, decode, encode_parts
from thinwire.errors import NonFiniteError
from thinwire.exchange.requests import Average, Exchange, Place, Sum
from thinwire.exchange.selected import selected
from thinwire.kernels.distortion import all_finite


def summed(codec: Codec, x: Tensor, place: Place, seed: int, history: State, squares: float | None = None) -> Exchange:
    """Average a float tensor by a ``linear`` codec with float parts; ``seed`` is the same on all ranks.

    Parts are divided by the number of ranks before they are added, so that half precision cannot overflow; what the
    sum itself rounds is lost, as in a dense all-reduce. Raises NonFiniteError where the codec is lossy.
    """
    refuse_non_finite(codec, x, squares)
    encoded, history = encode_parts(codec, x.detach(), seed, history)
    working = Spec.of(x).working
    contributed = decode(encoded).to(working)
    sums: list[Tensor] = yield Sum(tuple(leaf / place.world for leaf in encoded.leaves()))
    mean = decode(_with_leaves(encoded, iter(sums))).to(working)
    return Average(mean, contributed, history, selected(codec, encoded))


def refuse_non_finite(codec: Codec, x: Tensor, squares: float | None) -> None:
    """Raise NonFiniteError where a lossy codec would turn NaN or infinity into silent garbage."""
    if squares is not None and math.isfinite(squares):
        return
    if not codec.lossless and not all_finite(x):
        raise NonFiniteError(f"the tensor {tuple(x.shape)} {x.dtype} holds NaN or infinity, which {codec} cannot send")


def added(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of float tensors, one a rank, in the working dtype: added in the order of the ranks.

    They are shares of a mean: where rounding takes the sum of finite ones beyond the range, it is the largest number.
    """
    total = parts[0].to(Spec.of(parts[0]).working, copy=True)
    for part in parts[1:]:
        total += part
    if not all_finite(total) and all(map(all_finite, parts)):
        most = torch.finfo(total.dtype).max
        total.clamp_(-most, most)
    return total


def _with_leaves(encoded: Encoded, leaves: Any) -> Encoded:
    """Return the same with other leaf parts, depth first, in wire order."""
    parts: dict[str, Tensor | Encoded] = {
        name: _with_leaves(part, leaves) if isinstance(part, Encoded) else next(leaves)
        for name, part in encoded.parts.items()
    }
    return replace(encoded, parts=parts, known={})
