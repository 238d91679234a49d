"""From a tensor to its compressed form: the concrete codec, its parts, and the codecs of these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from thinwire.codec.base import Codec
from thinwire.codec.encoded import Encoded, forget
from thinwire.codec.seeds import derive_seed
from thinwire.codec.spec import Spec, State
from thinwire.errors import NonFiniteError
from thinwire.kernels.distortion import energy, largest


def encode(codec: Codec, x: Tensor, seed: int = 0, history: State | None = None) -> Encoded:
    """Encode one tensor of any shape; ``x`` is not changed.

    ``seed`` (0 to 2**32 - 1) drives every random choice. Integer and bool tensors are always lossless, whatever the
    codec. The result is never larger than the dense tensor: where the codec would grow it, it is sent raw.
    Raises NonFiniteError when a lossy codec is given NaN or infinity.
    """
    return forget(encode_with_history(codec, x, seed, history or {})[0])


def encode_with_history(
    codec: Codec, x: Tensor, seed: int, history: State, squares: float | None = None
) -> tuple[Encoded, State]:
    """Encode as ``encode`` does and also return what the codec wants to remember for this tensor.

    ``squares`` is ``kernels.distortion.energy(x)``: whoever has it saves a read of the tensor. What is encoded holds
    its ``known`` parts; ``forget`` them before it is kept.
    """
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed is {seed}, expected 0 to 2**32 - 1")
    x = x.detach()
    encoded, history = encode_parts(_concrete(codec, x, seed, squares), x, seed, history)
    if encoded.payload_bytes > Spec.of(x).nbytes:
        return encode_parts(_named("raw"), x, seed, {})[0], {}
    return encoded, history


def encode_parts(codec: Codec, x: Tensor, seed: int, history: State) -> tuple[Encoded, State]:
    """Apply one concrete codec and, to the parts that its fields claim, their codecs."""
    made: Mapping[str, Tensor | Encoded] | None = codec.to_streams(x)
    if made is None:
        made, history = codec.to_parts(x, seed, history)
    parts = {name: part for name, part in made.items() if isinstance(part, Tensor)}
    size = codec.size(parts)
    claimed = {name: inner for name, inner in codec.children().items() if name in parts}
    nested = {name: _encode_child(inner, parts[name], derive_seed(seed, name)) for name, inner in claimed.items()}
    if any(nested[name].codec != inner for name, inner in claimed.items()):
        codec = replace(codec, **{name: child.codec for name, child in nested.items()})  # type: ignore[type-var]
    known = {name: parts[name] for name in claimed if not parts[name].dtype.is_floating_point}
    seed = seed if codec.seeded else 0
    return Encoded(codec.decoder(), Spec.of(x), {**made, **nested}, seed, size, known), history


def _encode_child(codec: Codec, part: Tensor, seed: int) -> Encoded:
    return forget(encode_parts(_concrete(codec, part, seed), part, seed, {})[0])


def _concrete(codec: Codec, x: Tensor, seed: int, squares: float | None = None) -> Codec:
    if codec.lossless:
        return codec
    return _named("planes") if must_be_lossless(codec, x, squares) else codec.fit(x, seed)


def must_be_lossless(codec: Codec, x: Tensor, squares: float | None) -> bool:
    """Return whether ``codec`` cannot take x. Raises NonFiniteError.

    Integers always; floats whose largest magnitude is so close to the dtype's limits that a scale would overflow.
    """
    if x.is_complex():
        raise TypeError(f"complex tensors cannot be encoded (given {x.dtype}); encode torch.view_as_real(x) instead")
    if not x.dtype.is_floating_point:
        return True
    limits = torch.finfo(Spec.of(x).working)
    low, high = limits.tiny * 2.0**32, limits.max / 4
    # The sum of squares, which takes half the time, nearly always shows that the largest magnitude is in between.
    if 4 * low * low * x.numel() < (energy(x) if squares is None else squares) < high * high / 4:
        return False
    peak = largest(x)
    if not math.isfinite(peak):
        raise _non_finite(codec, x)
    return peak != 0.0 and not low <= peak <= high


def _named(id: str) -> Codec:
    from thinwire import registry

    return registry.codec_class(id)()


def _non_finite(codec: Codec, x: Tensor) -> NonFiniteError:
    nans, infs = int(torch.isnan(x).sum()), int(torch.isinf(x).sum())
    return NonFiniteError(
        f"the tensor {tuple(x.shape)} {x.dtype} holds {nans} NaN and {infs} infinite values, which {codec} would "
        "turn into silent garbage; skip the step that made them, or send it with a lossless codec (Raw, Planes)"
    )
