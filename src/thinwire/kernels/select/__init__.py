"""Selection by magnitude, without sorting: the k largest, all from a threshold up, how many there are.

Every function takes 1-D contiguous float tensors of any float dtype on any device and gives the same result on all:
large ones on a CPU go to compiled loops, all others to the torch reference. NaN counts as infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from thinwire.kernels.select import reference

__all__ = ["accumulate_largest", "at_least", "count_at_least", "kernels_for", "largest", "largest_of_each", "take_out"]

_WORTH_COMPILING = 1 << 12


def kernels_for(x: Tensor) -> Any:
    """Return the module that suits a tensor. The compiled one is loaded on first use: numba takes its time."""
    if x.device.type != "cpu" or x.numel() < _WORTH_COMPILING:
        return reference
    from thinwire.kernels.select import cpu

    return cpu


def largest(x: Tensor, k: int) -> Tensor:
    """Return the indices (int64, ascending) of the k elements of largest magnitude; ties go to the lowest index.

    0 <= k <= n.
    """
    return kernels_for(x).largest(x, k)  # type: ignore[no-any-return]


def largest_of_each(x: Tensor, lengths: Sequence[int], counts: Sequence[int]) -> list[Tensor]:
    """Return ``largest(segment, k)`` of consecutive segments of x; ``lengths`` and ``counts``: the n and k of each."""
    return kernels_for(x).largest_of_each(x, lengths, counts)  # type: ignore[no-any-return]


def accumulate_largest(residual: Tensor, x: Tensor, k: int) -> Tensor:
    """Add ``x`` to ``residual`` in place and return ``largest(residual, k)``, in one sweep over both."""
    return kernels_for(x).accumulate_largest(residual, x, k)  # type: ignore[no-any-return]


def at_least(x: Tensor, threshold: float) -> Tensor:
    """Return the indices (int64, ascending) of the elements with ``|x| >= threshold``, compared exactly."""
    return kernels_for(x).at_least(x, threshold)  # type: ignore[no-any-return]


def count_at_least(x: Tensor, threshold: float) -> int:
    """Return how many elements have ``|x| >= threshold``, compared exactly. One read of the tensor."""
    return int(kernels_for(x).count_at_least(x, threshold))


def take_out(x: Tensor, indices: Tensor) -> Tensor:
    """Return the elements at ``indices`` (within x) and set them to zero in ``x``: k operations."""
    return kernels_for(indices).take_out(x, indices)  # type: ignore[no-any-return]
