"""Tensors to try a codec on: ordinary ones by domain, and the degenerate ones that break naive codecs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from thinwire.codec import generator
from thinwire.kernels.raw_bytes import raw_bytes

Domain = Literal["update", "symbols", "indices"]
"""What a codec takes: any tensor, int32 symbols around zero, or strictly ascending int64 indices (1-D)."""


def suited(
    domain: Domain, shape: tuple[int, ...] = (60, 40), dtype: torch.dtype = torch.float32, seed: int = 0
) -> Tensor:
    """Return an ordinary tensor of the domain; ``dtype`` is for updates, and indices are always 1-D."""
    normal = torch.randn(shape, generator=generator(seed), dtype=torch.float64)
    if domain == "symbols":
        return (normal * 2).round().to(torch.int32)
    if domain == "indices":
        return (normal.abs() * 20).to(torch.int64).reshape(-1).add(1).cumsum(0)
    # Real updates are peaked with long tails; the third power of a normal is.
    return (normal**3 * 0.01).to(dtype)


def ordinary(domain: Domain) -> dict[str, Tensor]:
    """Return name -> tensor: the shapes and dtypes that a codec of the domain must carry."""
    shapes = {"matrix": (60, 40), "4-d": (8, 4, 3, 3), "3-d": (5, 7, 11), "prime": (997,), "0-d": (), "empty": (0, 3)}
    if domain != "update":
        return {name: suited(domain, shape, seed=7) for name, shape in shapes.items()}
    floats = {str(t).removeprefix("torch."): suited(domain, (48, 40), t) for t in FLOATS}
    return {name: suited(domain, shape, seed=7) for name, shape in shapes.items()} | floats


FLOATS = (torch.float64, torch.float16, torch.bfloat16)


def degenerate() -> dict[str, Tensor]:
    """Return name -> tensor, the columns of the table in docs/laws.md; fresh tensors at every call."""
    x = suited("update", (37, 40), seed=3)
    outlier = x.clone()
    outlier[5, 5] = 1e30
    return {
        "zeros": torch.zeros(37, 40),
        "constant": torch.full((37, 40), 0.3),
        "one element": torch.tensor([0.7]),
        "empty": torch.zeros(0, 5),
        "0-d": torch.tensor(-2.5),
        "NaN": _with(x, float("nan")),
        "Inf": _with(x, float("-inf")),
        "denormal": torch.full((37, 40), 1e-42) * torch.arange(40),
        "negative zero": torch.full((37, 40), -0.0),
        "outlier": outlier,
        "float16": (x * 1e6).clamp(-65504, 65504).to(torch.float16),
        "bfloat16": x.to(torch.bfloat16),
        "float64": x.to(torch.float64) * 1e200,
        "int64": torch.arange(-700, 780).reshape(37, 40),
        "bool": x > 0,
        "non-contiguous": suited("update", (40, 74), seed=5)[:, ::2].T,
        "stride 0": torch.tensor([0.7]).expand(40, 40),
        "3-d": suited("update", (5, 7, 11)),
        "4-d": suited("update", (8, 4, 3, 3)),
        "prime": suited("update", (1009,)),
    }


def _with(x: Tensor, value: float) -> Tensor:
    poisoned = x.clone()
    poisoned[3, 3] = value
    return poisoned


def same_bits(x: Tensor, y: Tensor) -> bool:
    """Return whether two tensors have the same shape, dtype and bits: NaN equals itself, -0.0 is not 0.0."""
    if x.shape != y.shape or x.dtype != y.dtype:
        return False
    return torch.equal(raw_bytes(x), raw_bytes(y))
