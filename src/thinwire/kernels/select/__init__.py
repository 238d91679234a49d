"""Selection by magnitude, without sorting: the k largest, all from a threshold up, how many there are.

Every function takes 1-D contiguous float tensors of any float dtype on any device and gives the same result on all:
large ones on a CPU go to compiled loops, all others to the torch reference. NaN counts as infinity.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from thinwire.kernels.select import reference

__all__ = ["accumulate_largest", "at_least", "count_at_least", "largest", "take_out"]

_WORTH_COMPILING = 1 << 14


def _kernels(x: Tensor) -> Any:
    """Return the module that suits a tensor. The compiled one is loaded on first use: numba takes its time."""
    if x.device.type != "cpu" or x.numel() < _WORTH_COMPILING:
        return reference
    from thinwire.kernels.select import cpu

    return cpu


def largest(x: Tensor, k: int, hint: float | None = None) -> Tensor:
    """Return the indices (int64, ascending) of the k elements of largest magnitude; ties go to the lowest index.

    ``hint`` is a magnitude that the k-th is expected to have, such as that of the step before: a good one saves a
    little time, a bad one costs some, the result is the same. 0 <= k <= n.
    """
    return _kernels(x).largest(x, k, hint)  # type: ignore[no-any-return]


def accumulate_largest(residual: Tensor, x: Tensor, k: int, hint: float | None = None) -> Tensor:
    """Add ``x`` to ``residual`` in place and return ``largest(residual, k, hint)``, in one sweep over both."""
    return _kernels(x).accumulate_largest(residual, x, k, hint)  # type: ignore[no-any-return]


def at_least(x: Tensor, threshold: float) -> Tensor:
    """Return the indices (int64, ascending) of the elements with ``|x| >= threshold``, compared exactly."""
    return _kernels(x).at_least(x, threshold)  # type: ignore[no-any-return]


def count_at_least(x: Tensor, threshold: float) -> int:
    """Return how many elements have ``|x| >= threshold``, compared exactly. One read of the tensor."""
    return int(_kernels(x).count_at_least(x, threshold))


def take_out(x: Tensor, indices: Tensor) -> Tensor:
    """Return the elements at ``indices`` (within x) and set them to zero in ``x``: k operations."""
    return _kernels(indices).take_out(x, indices)  # type: ignore[no-any-return]
