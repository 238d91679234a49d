"""Entropy coding of ascending integers: the indices of a sparse tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import VARIABLE, Codec, Spec, State
from thinwire.errors import WireError, unknown
from thinwire.kernels import indices as kernel

Coder = Literal["smallest", "gaps", "rice", "bitmap", "local12", "split", "runs"]


@dataclass(frozen=True)
class Indices(Codec, id="indices", tag=16):
    """Lossless for strictly ascending int64 indices, 0 to 2**40 - 1, in a 1-D tensor of any length.

    Random supports cost log2 C(n, k) bits plus about 1 %, clustered ones less. ``smallest`` chooses, for every 131,072
    indices anew; docs/wire-format.md has the coders. ``local12`` is the one of fixed widths, for devices to write.
    Where the gaps are too wide for a coder asked for by name, ``rice`` takes its place.
    """

    coder: Coder = "smallest"

    lossless = unbiased = True

    def __post_init__(self) -> None:
        if self.coder not in get_args(Coder):
            raise ValueError("Indices: " + unknown("coder", str(self.coder), get_args(Coder)))

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"stream": uint8}``: a byte for the coder, then its bytes. Raises ValueError on other tensors."""
        if x.dtype != torch.int64 or x.dim() != 1:
            raise ValueError(f"Indices takes 1-D int64 tensors, given {tuple(x.shape)} {x.dtype}")
        indices = x.cpu().numpy()
        if indices.size and not (indices[0] >= 0 and indices[-1] < kernel.MOST and (indices[1:] > indices[:-1]).all()):
            raise ValueError(f"Indices takes strictly ascending integers from 0 to {kernel.MOST - 1}; sort them first")
        stream = kernel.encode(indices, self.coder)
        return {"stream": torch.from_numpy(np.frombuffer(stream, np.uint8).copy())}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return one variable part."""
        return {"stream": Spec((VARIABLE,), torch.uint8)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return exactly as many indices as ``spec`` says, strictly ascending; the owner checks the last one."""
        if spec.dtype != torch.int64 or len(spec.shape) != 1:
            raise WireError(f"indices: holds 1-D int64, the schema says {spec}")
        stream = parts["stream"].contiguous().cpu().numpy().tobytes()
        return torch.from_numpy(kernel.decode(stream, spec.numel))
