"""Errors and energies. In float64 a little at a time: a piece in float64 would be most of the memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 1 << 18


def squared_error(x: Tensor, y: Tensor) -> float:
    """Return ``sum((x-y)**2)``."""
    return sum(float(gap.square().sum()) for gap in _gaps(x, y))


def largest_error(x: Tensor, y: Tensor) -> float:
    """Return ``max(abs(x-y))``, 0 for no element, NaN where one of them is."""
    worst = [gap.abs().amax() for gap in _gaps(x, y)]
    return float(torch.stack(worst).amax()) if worst else 0.0


def energy64(x: Tensor) -> float:
    """Return ``sum(x**2)``."""
    return sum(float(chunk.double().square().sum()) for chunk in torch.split(x.reshape(-1), _CHUNK))


def spectrum(x: Tensor) -> Tensor:
    """Return the energies of a matrix's components, the largest first, in units of their sum."""
    rows = x.reshape(x.shape[0], -1)
    rows = rows.div(rows.abs().amax()).float()
    gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    energies: Tensor = torch.linalg.eigvalsh(gram.double()).clamp_min(0).flip(0)
    return energies / energies.sum()


def _gaps(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    pairs = zip(torch.split(x.reshape(-1), _CHUNK), torch.split(y.reshape(-1), _CHUNK), strict=True)
    yield from (a.double() - b.double() for a, b in pairs if a.numel())
