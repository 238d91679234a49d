"""Entropy coding of small signed integers, such as a quantizer's symbols: rANS with rows and columns as context."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import VARIABLE, Spec, State, Stream
from thinwire.errors import WireError
from thinwire.kernels import ans


@dataclass(frozen=True)
class Ans(Stream, id="ans", tag=18):
    """Lossless for int32 tensors of any shape, made for updates: rows (first dimension) and columns (the rest) differ.

    Static rANS (Duda 2013, arXiv:1311.2540) with integer tables. Every row and column has a magnitude class and a
    sign of its own where that pays for itself, so that a symbol's table is that of both; a tensor without such order
    costs its entropy. Chunks as those of `Symbols` take the place of what they make smaller.
    """

    lossless = unbiased = True
    piece = 1 << 18

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"stream": uint8}``. Raises ValueError unless ``x`` is int32."""
        if x.dtype != torch.int32:
            raise ValueError(f"Ans takes int32 tensors, given {x.dtype}; use Planes for other dtypes")
        return _parts(ans.encode(x.contiguous().reshape(-1).cpu().numpy(), tuple(x.shape))), {}

    def write(self, pieces: Iterable[Tensor], shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Return what ``to_parts`` returns, from its pieces; they are held in two bytes an element where those fit."""
        return _parts(ans.encode(ans.narrowed((piece.numpy() for piece in pieces), math.prod(shape)), shape))

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return one variable part."""
        return {"stream": Spec((VARIABLE,), torch.uint8)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the tensor. The stream must hold exactly its elements and end where its encoder began."""
        if spec.dtype != torch.int32:
            raise WireError(f"ans: holds int32, the schema says {spec.dtype}")
        return torch.from_numpy(ans.decode(_data(parts), spec.shape)).reshape(spec.shape)

    def read(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Iterator[Tensor]:
        """Yield the coder's blocks, as int32."""
        return map(torch.from_numpy, ans.pieces(_data(parts), shape))


def _parts(stream: bytearray) -> dict[str, Tensor]:
    return {"stream": torch.from_numpy(np.frombuffer(stream, np.uint8))}


def _data(parts: Mapping[str, Tensor]) -> memoryview:
    return parts["stream"].contiguous().cpu().numpy().data
