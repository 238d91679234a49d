"""Entropy coding of small signed integers, such as a quantizer's symbols: rANS with rows and columns as context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import VARIABLE, Codec, Spec, State
from thinwire.errors import WireError
from thinwire.kernels import ans


@dataclass(frozen=True)
class Ans(Codec, id="ans", tag=18):
    """Lossless for int32 tensors of any shape, made for updates: rows (first dimension) and columns (the rest) differ.

    Static rANS (Duda 2013, arXiv:1311.2540) with integer tables. Every row and column has a magnitude class and a
    sign of its own where that pays for itself, so that a symbol's table is that of both; a tensor without such order
    costs its entropy. Chunks as those of `Symbols` take the place of what they make smaller.
    """

    lossless = unbiased = True

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"stream": uint8}``. Raises ValueError unless ``x`` is int32."""
        if x.dtype != torch.int32:
            raise ValueError(f"Ans takes int32 tensors, given {x.dtype}; use Planes for other dtypes")
        stream = ans.encode(x.contiguous().reshape(-1).cpu().numpy(), tuple(x.shape))
        return {"stream": torch.from_numpy(np.frombuffer(stream, np.uint8).copy())}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return one variable part."""
        return {"stream": Spec((VARIABLE,), torch.uint8)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the tensor. The stream must hold exactly its elements and end where its encoder began."""
        if spec.dtype != torch.int32:
            raise WireError(f"ans: holds int32, the schema says {spec.dtype}")
        stream = parts["stream"].contiguous().cpu().numpy().tobytes()
        return torch.from_numpy(ans.decode(stream, spec.shape)).reshape(spec.shape)
