"""Hypothesis strategies: tensors of every dtype, shape and kind of values. Needs hypothesis (``thinwire[test]``)."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from thinwire.codec import generator

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.uint8, torch.bool)
KINDS = ("normal", "ties", "denormal", "huge", "outlier", "magnitudes", "zeros", "negative zero", "constant", "sparse")
_MOST = 2000


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of zero to four dimensions, empty ones and primes among them."""
    sides = st.sampled_from([0, 1, 2, 3, 7, 8, 13, 64])
    small = st.lists(sides, max_size=4).map(tuple).filter(lambda shape: math.prod(shape) <= _MOST)
    return small | st.sampled_from([(997,), (40, 50), (5, 7, 11), (8, 4, 3, 3)])


@st.composite
def finite(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = FLOATS) -> Tensor:
    """Finite float tensors: drawn by kind, or element by element, some of them not contiguous."""
    dtype = draw(st.sampled_from(dtypes))
    if draw(st.booleans()):
        x = kind(draw(st.sampled_from(KINDS)), draw(shapes()), dtype, draw(st.integers(0, 2**32 - 1)))
    else:
        x = torch.tensor(draw(st.lists(_elements(dtype), max_size=40)), dtype=torch.float64).to(dtype)
    return x.transpose(0, -1) if x.dim() > 1 and draw(st.booleans()) else x


@st.composite
def integers(draw: st.DrawFn) -> Tensor:
    """Integer and bool tensors over the whole range of their dtype."""
    dtype, shape = draw(st.sampled_from(INTEGERS)), draw(shapes())
    low, high = (0, 2) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    narrow = draw(st.booleans()) and dtype != torch.bool
    low, high = (max(low, -3), 4) if narrow else (low, high)
    return torch.randint(low, high, shape, generator=generator(draw(st.integers(0, 99)))).to(dtype)


def tensors() -> st.SearchStrategy[Tensor]:
    """All of them."""
    return finite() | integers()


def kind(name: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Return a finite tensor whose values are of one of ``KINDS``."""
    normal = torch.randn(shape, generator=generator(seed), dtype=torch.float64)
    limits = torch.finfo(dtype)
    outlier = torch.where(normal > 1.5, min(1e30, limits.max / 8), normal)
    values = {
        "normal": normal,
        "ties": normal.round(),
        "denormal": normal * limits.tiny / 4,
        "huge": normal.clamp(-4, 4) * (limits.max / 4),
        "outlier": outlier,
        "magnitudes": normal.sign() * 10.0 ** (normal * 8).clamp(math.log10(limits.tiny), math.log10(limits.max) - 1),
        "zeros": normal * 0.0,
        "negative zero": torch.full(shape, -0.0, dtype=torch.float64),
        "constant": torch.full(shape, 0.1 + seed % 7, dtype=torch.float64),
        "sparse": normal * (normal > 1.8),
    }[name]
    return values.clamp(-limits.max, limits.max).to(dtype)


def _elements(dtype: torch.dtype) -> st.SearchStrategy[float]:
    width = 64 if dtype == torch.float64 else 16 if dtype == torch.float16 else 32
    most = torch.finfo(dtype).max
    return st.floats(-most, most, width=width, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]
