"""Which exchange a codec's algebra allows, and which of those is the cheapest: from shapes and settings alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, encode, generator
from thinwire.exchange.gathers import gathered
from thinwire.exchange.power import power
from thinwire.exchange.requests import Exchange, Place
from thinwire.exchange.selected import is_sparse
from thinwire.exchange.sums import summed
from thinwire.exchange.two_shot import two_shot

Name = Literal["alone", "sum", "gather", "two-shot", "power"]
EXCHANGES: dict[Name, Callable[[Codec, Tensor, Place, int, State, float | None], Exchange]] = {
    "alone": gathered, "sum": summed, "gather": gathered, "two-shot": two_shot, "power": power,
}  # fmt: skip
"""By the name of a choice. Alone, a gather has nobody to ask: the codec is applied all the same."""

_PROBE = 4096
_INDEX_EXCESS = 2.0
"""Bits that an index takes beyond log2(1 / density), at most: Golomb codes take 1.5 at 1 %."""


@dataclass(frozen=True)
class Choice:
    """An exchange by its name, and the sentence that says why it is that one."""

    name: Name
    reason: str


def start(
    name: Name, codec: Codec, x: Tensor, place: Place, seed: int, history: State, squares: float | None = None
) -> Exchange:
    """Return the exchange that averages x; nothing runs before its first step.

    x: float, any shape and device, in the dtype that travels; not changed. ``seed`` (0 to 2**32 - 1) is the same on all
    ranks. ``history`` is what the last exchange of this tensor returned, under the same choice or another.
    ``squares`` is ``kernels.distortion.energy(x)``: whoever has it saves a read of the tensor.
    """
    return EXCHANGES[name](codec, x, place, seed, history, squares)


@cache
def chosen(codec: Codec, spec: Spec, world: int) -> Choice:
    """Return how ``world`` ranks average a float tensor of ``spec`` by ``codec``: the same answer on all of them."""
    if world == 1:
        return Choice("alone", "there is one rank: the codec is applied, nothing is sent")
    if _linear(codec):
        return Choice("sum", f"{codec} is linear: its parts are summed over {world} ranks")
    return _low_rank(codec, spec) or _sparse(codec, spec, world) or _quantized(codec, world)


def _linear(codec: Codec) -> bool:
    return codec.linear and all(map(_linear, codec.children().values()))


def _low_rank(codec: Codec, spec: Spec) -> Choice | None:
    """Sum factors where they are smaller than their matrix; a codec that finds the rank needs the matrix whole."""
    if len(spec.shape) < 2 or not spec.numel or codec.local:
        return None
    m, n, rank = spec.shape[0], spec.numel // spec.shape[0], codec.sketch_rank(spec)
    if not rank:
        return Choice("gather", f"{codec} finds the rank of {m} x {n} itself: nothing of it can be summed")
    if rank * (m + n) >= spec.numel:
        return None
    return Choice("power", f"rank {rank} of {m} x {n}: factors of {rank * (m + n)} elements for {spec.numel}")


def _sparse(codec: Codec, spec: Spec, world: int) -> Choice | None:
    """Compare what a rank receives: ``world`` sparse tensors, or two dense ones (a ring all-reduce)."""
    if not is_sparse(codec):
        return None
    density = getattr(codec, "density", None)
    if density is None:
        return Choice("gather", f"how many elements {codec} keeps is not known ahead")
    bits, dense = _bits(codec, density, spec), 16 * spec.dtype.itemsize
    gathers = density * world * bits < dense
    sides = f"{density:g} x {world} ranks x {bits:.1f} bits {'<' if gathers else '>='} {dense}"
    return Choice("gather" if gathers else "two-shot", f"density {sides}, twice the bits of a dense element")


def _bits(codec: Codec, density: float, spec: Spec) -> float:
    """Return about how many bits a kept element takes: its value and, where one travels, its index."""
    children = codec.children()
    index = math.log2(1 / density) + _INDEX_EXCESS if "indices" in children else 0.0
    return _value_bits(children.get("values"), spec.dtype) + index


@cache
def _value_bits(values: Codec | None, dtype: torch.dtype) -> float:
    """Return bits an element of normal noise: what a codec of values makes of it, itself or by an error bound."""
    if values is None:
        return 8.0 * dtype.itemsize
    noise = torch.randn(_PROBE, generator=generator(0), dtype=torch.float64).to(dtype)
    return 8.0 * encode(values, noise).payload_bytes / _PROBE


def _quantized(codec: Codec, world: int) -> Choice:
    if world == 2:
        return Choice("gather", f"2 ranks: two shots of {codec} would be as many bytes and one more error")
    return Choice(
        "two-shot",
        f"{world} ranks: two shots of {codec} are as many bytes as {2 * (world - 1) / world:.3g} "
        f"encodings, a gather {world - 1}",
    )
