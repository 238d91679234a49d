"""What the tests of exchanges share: a bucket of awkward tensors for every rank, and the truth in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from thinwire.exchange.requests import Average
from thinwire.testing.tensors import suited

Bucket = dict[str, Tensor]


def buckets(world: int, names: Sequence[str] = ()) -> list[Bucket]:
    """Return the same names, shapes and dtypes for every rank, and other values on each; some of them, if named."""
    return [{name: x for name, x in bucket(rank).items() if name in names or not names} for rank in range(world)]


def bucket(rank: int) -> Bucket:
    rare = torch.zeros(64, 6)
    rare[5 * rank + 1 : 5 * rank + 3] = suited("update", (2, 6), seed=rank)
    return {
        "rows": suited("update", (66, 5), seed=rank),
        "4-d": suited("update", (8, 4, 3, 3), seed=rank),
        "zeros": torch.zeros(8, 6),
        "constant": torch.full((5, 7), 0.3),
        "one element": torch.tensor([0.7 - rank]),
        "0-d": torch.tensor(-2.5 * rank),
        "fewer than ranks": suited("update", (3,), seed=rank),
        "prime": suited("update", (211,), seed=rank),
        "empty": torch.zeros(0, 5),
        "float64": suited("update", (30, 10), torch.float64, seed=rank),
        "float16": suited("update", (33,), torch.float16, seed=rank),
        "bfloat16": suited("update", (24, 10), torch.bfloat16, seed=rank),
        "non-contiguous": suited("update", (10, 30), seed=rank)[:, ::2].T,
        "embedding": rare,
        "far apart": suited("update", (40,), seed=rank) * 10.0 ** (6 * rank),
    }


def float64_mean(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([x.double() for x in tensors]).mean(0)


def mean_contributed(averages: Sequence[Mapping[str, Average]], name: str) -> Tensor:
    return float64_mean([average[name].contributed for average in averages])


def near(x: Tensor, y: Tensor, scale: float, units: float, dtype: torch.dtype) -> bool:
    """Return whether x and y are within ``units`` roundings of numbers as large as ``scale``."""
    return bool(((x.double() - y.double()).abs() <= units * torch.finfo(dtype).eps * scale).all())
