"""Differences between two models of one schema, and the checks before they touch one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from thinwire.codec import Spec
from thinwire.errors import WireError


def add(reference: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``reference + delta`` in the reference's dtypes, bit for bit alike on every machine.

    Integers wrap around; for bools the delta is an exclusive or.
    """
    return {name: plus(reference[name], change) for name, change in delta.items()}


def subtract(tensors: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``tensors - reference`` in the reference's dtypes: what ``add`` undoes (floats: up to rounding)."""
    return {name: minus(tensors[name].to(base.dtype), base) for name, base in reference.items()}


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise WireError naming the first float tensor that holds NaN or infinity."""
    for name, x in tensors.items():
        if x.dtype.is_floating_point and not bool(torch.isfinite(x).all()):
            raise WireError(f"tensor {name!r} holds NaN or infinity")


def zeros(expected: Mapping[str, Spec]) -> dict[str, Tensor]:
    """Return the model that everybody holds: all zeros."""
    return {name: torch.zeros(spec.shape, dtype=spec.dtype) for name, spec in expected.items()}


def plus(x: Tensor, change: Tensor) -> Tensor:
    """Return the sum in their dtype: integers wrap around, of bools an exclusive or."""
    return x ^ change if x.dtype == torch.bool else x + change


def minus(x: Tensor, base: Tensor) -> Tensor:
    """Return what ``plus`` undoes (floats: up to rounding)."""
    return x ^ base if x.dtype == torch.bool else x - base
