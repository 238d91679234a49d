"""A matrix in float64 over its largest magnitude, made from the tensor a few rows at a time: never whole in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from thinwire.kernels.distortion import largest

_ELEMENTS = 1 << 20
"""Of rows made at a time: 8 MB."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """``values / peak`` in float64: squares of its entries neither overflow nor vanish.

    Attributes:
        values: (m, n) of any float dtype; read only.
        peak: the largest magnitude; 1 for a matrix of zeros.
    """

    values: Tensor
    peak: float

    @classmethod
    def of(cls, values: Tensor) -> Matrix:
        """Return a matrix (m, n) that is not empty over its largest magnitude."""
        return cls(values, largest(values) or 1.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (m, n)."""
        m, n = self.values.shape
        return m, n

    @cached_property
    def energy(self) -> float:
        """Sum of squares."""
        return sum(float(torch.dot(rows.reshape(-1), rows.reshape(-1))) for _, rows in self._rows())

    def times(self, b: Tensor) -> Tensor:
        """Return the product with ``b`` (n, k) in float64: (m, k)."""
        parts = [rows @ b for _, rows in self._rows()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def transposed_times(self, b: Tensor) -> Tensor:
        """Return the product of the transpose with ``b`` (m, k) in float64: (n, k)."""
        return self._sum(rows.T @ b[at : at + len(rows)] for at, rows in self._rows())

    def gram(self) -> Tensor:
        """Return the smaller Gram matrix, (min(m, n), min(m, n)) in float64."""
        m, n = self.shape
        if m > n:
            return self._sum(rows.T @ rows for _, rows in self._rows())
        step = max(1, _ELEMENTS // m)
        parts = (self._scaled(self.values[:, at : at + step]) for at in range(0, n, step))
        return self._sum(columns @ columns.T for columns in parts)

    def nmse(self, decoded: Iterable[tuple[int, Tensor]]) -> float:
        """Return the NMSE of a decoded matrix, given as where some of its rows begin, and these."""
        return math.fsum(self._squared_error(at, rows) for at, rows in decoded) / self.energy

    def _squared_error(self, at: int, rows: Tensor) -> float:
        left = self._scaled(self.values[at : at + len(rows)]).sub_(self._scaled(rows)).reshape(-1)
        return float(torch.dot(left, left))

    def _scaled(self, rows: Tensor) -> Tensor:
        return rows.to(torch.float64, copy=True).div_(self.peak)

    def _rows(self) -> Iterator[tuple[int, Tensor]]:
        step = max(1, _ELEMENTS // self.shape[1])
        for at in range(0, self.shape[0], step):
            yield at, self._scaled(self.values[at : at + step])

    @staticmethod
    def _sum(parts: Iterator[Tensor]) -> Tensor:
        total = next(parts)
        for part in parts:
            total += part
        return total
