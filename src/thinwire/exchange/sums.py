"""Linear codecs: parts are summed over ranks and decoded once. The volume is that of one all-reduce of the parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from thinwire.codec import Codec, Encoded, Spec, State, decode, encode_parts
from thinwire.errors import NonFiniteError
from thinwire.exchange.requests import Average, Exchange, Place, Sum
from thinwire.kernels.distortion import all_finite


def summed(codec: Codec, x: Tensor, place: Place, seed: int, history: State) -> Exchange:
    """Average a float tensor by a ``linear`` codec with float parts; ``seed`` is the same on all ranks.

    Parts are divided by the number of ranks before they are added, so that half precision cannot overflow; what the
    sum itself rounds is lost, as in a dense all-reduce. Raises NonFiniteError where the codec is lossy.
    """
    refuse_non_finite(codec, x)
    encoded, history = encode_parts(codec, x.detach(), seed, history)
    working = Spec.of(x).working
    contributed = decode(encoded).to(working)
    sums: list[Tensor] = yield Sum(tuple(leaf / place.world for leaf in encoded.leaves()))
    return Average(decode(_with_leaves(encoded, iter(sums))).to(working), contributed, history)


def refuse_non_finite(codec: Codec, x: Tensor) -> None:
    """Raise NonFiniteError where a lossy codec would turn NaN or infinity into silent garbage."""
    if not codec.lossless and not all_finite(x):
        raise NonFiniteError(f"the tensor {tuple(x.shape)} {x.dtype} holds NaN or infinity, which {codec} cannot send")


def _with_leaves(encoded: Encoded, leaves: Any) -> Encoded:
    """Return the same with other leaf parts, depth first, in wire order."""
    parts: dict[str, Tensor | Encoded] = {
        name: _with_leaves(part, leaves) if isinstance(part, Encoded) else next(leaves)
        for name, part in encoded.parts.items()
    }
    return replace(encoded, parts=parts, known={})
