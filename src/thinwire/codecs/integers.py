"""Entropy coding of ascending integers: the indices of a sparse tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import VARIABLE, Codec, Spec, State
from thinwire.errors import WireError, unknown
from thinwire.kernels import indices as kernel
from thinwire.kernels.gaps import between
from thinwire.kernels.indices import Integers

Coder = Literal["smallest", "gaps", "rice", "bitmap"]

_ENCODERS: dict[str, Callable[[Integers], bytes | None]] = {
    "gaps": kernel.encode_gaps,
    "rice": kernel.encode_rice,
    "bitmap": kernel.encode_bitmap,
}
_DECODERS: tuple[Callable[[bytes, int], Integers], ...] = (
    kernel.decode_gaps,
    kernel.decode_rice,
    kernel.decode_bitmap,
)


@dataclass(frozen=True)
class Indices(Codec, id="indices", tag=16):
    """Lossless for strictly ascending int64 indices, 0 to 2**40 - 1, in a 1-D tensor of any length.

    Random supports cost log2 C(n, k) bits plus about 1 % (``rice``), clustered ones less (``gaps``, ``bitmap``);
    ``smallest`` tries all. Where the gaps are too wide for ``gaps`` or ``bitmap``, ``rice`` takes their place.
    """

    coder: Coder = "smallest"

    lossless = unbiased = True

    def __post_init__(self) -> None:
        if self.coder not in get_args(Coder):
            raise ValueError("Indices: " + unknown("coder", str(self.coder), get_args(Coder)))

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"stream": uint8}``: a byte for the coder, then its bytes. Raises ValueError on other tensors."""
        gaps = _gaps(x)
        stream = self._smallest(gaps) if gaps.size else b""
        return {"stream": torch.from_numpy(np.frombuffer(stream, np.uint8).copy())}, {}

    def _smallest(self, gaps: Integers) -> bytes:
        wanted = list(_ENCODERS) if self.coder == "smallest" else [self.coder]
        streams = [_tagged(name, gaps) for name in wanted]
        return min((s for s in streams if s), key=len, default=None) or _tagged("rice", gaps)

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return one variable part."""
        return {"stream": Spec((VARIABLE,), torch.uint8)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return exactly as many indices as ``spec`` says, strictly ascending; the owner checks the last one."""
        if spec.dtype != torch.int64 or len(spec.shape) != 1:
            raise WireError(f"indices: holds 1-D int64, the schema says {spec}")
        stream = parts["stream"].contiguous().cpu().numpy().tobytes()
        return torch.from_numpy(_read(stream, spec.numel))


def _tagged(name: str, gaps: Integers) -> bytes:
    data = _ENCODERS[name](gaps)
    return b"" if data is None else bytes([list(_ENCODERS).index(name)]) + data


def _gaps(x: Tensor) -> Integers:
    if x.dtype != torch.int64 or x.dim() != 1:
        raise ValueError(f"Indices takes 1-D int64 tensors, given {tuple(x.shape)} {x.dtype}")
    indices = x.cpu().numpy()
    if indices.size and not (indices[0] >= 0 and indices[-1] < kernel.MOST and (indices[1:] > indices[:-1]).all()):
        raise ValueError(f"Indices takes strictly ascending integers from 0 to {kernel.MOST - 1}; sort them first")
    return between(indices)


def _read(stream: bytes, count: int) -> Integers:
    if not (stream and count):
        return _nothing(stream, count)
    if stream[0] >= len(_DECODERS):
        raise WireError(f"indices: coder {stream[0]} is unknown, expected 0 to {len(_DECODERS) - 1}")
    indices = _DECODERS[stream[0]](stream[1:], count)
    if int(indices[-1]) >= kernel.MOST:
        raise WireError(f"indices: an index is {kernel.MOST} or more")
    return indices


def _nothing(stream: bytes, count: int) -> Integers:
    if stream or count:
        raise WireError(f"indices: {len(stream)} bytes for {count} indices")
    return np.empty(0, np.int64)
