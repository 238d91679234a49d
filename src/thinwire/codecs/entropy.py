"""Entropy coding of small integers: bit packing or sparse coding per chunk, then zstd. The smallest wins.

zstd codes bytes, at no less than one bit each. Packing 2 or 4 symbols into a byte makes it code them jointly, which is
within about 1 % of their entropy; below about 12 % non-zeros, gaps between non-zeros do better (docs/methods.md).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import VARIABLE, Codec, Spec, State
from thinwire.errors import WireError
from thinwire.kernels import chunks, zstd
from thinwire.kernels.raw_bytes import raw_bytes


@dataclass(frozen=True)
class Symbols(Codec, id="symbols", tag=8):
    """Lossless bytes for int32 tensors of mostly small values: each chunk is coded in its smallest way."""

    level: int = 1

    lossless = unbiased = True

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"stream": uint8}``: the length of every chunk but the last, then the chunks. int32 only."""
        if x.dtype != torch.int32:
            raise ValueError(f"Symbols takes int32 tensors, given {x.dtype}; use Planes for other dtypes")
        values = x.reshape(-1).cpu().numpy()
        coded = [chunks.encode(chunk, self.level) for chunk in chunks.split(values)]
        lengths = struct.pack(f"<{max(len(coded) - 1, 0)}I", *map(len, coded[:-1]))
        return {"stream": as_tensor(lengths + b"".join(coded))}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return one variable part."""
        return {"stream": Spec((VARIABLE,), torch.uint8)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the integers."""
        if spec.dtype != torch.int32:
            raise WireError(f"symbols: the schema says {spec.dtype}, expected torch.int32")
        data = parts["stream"].numpy().tobytes()
        counts = chunks.counts(spec.numel)
        head = 4 * max(len(counts) - 1, 0)
        if len(data) < head:
            raise WireError("symbols: the stream is cut short")
        lengths = struct.unpack_from(f"<{head // 4}I", data)
        ends = [head, *(head + int(end) for end in np.cumsum(lengths, dtype=np.int64))]
        pieces = [data[a:b] for a, b in zip(ends, [*ends[1:], len(data)], strict=True)] if counts else []
        if ends[-1] > len(data) or (not counts and data):
            raise WireError("symbols: chunk lengths disagree with the stream")
        out = np.empty(spec.numel, np.int32)
        for piece, count, into in zip(pieces, counts, chunks.split(out), strict=True):
            into[:] = chunks.decode(piece, count)
        return torch.from_numpy(out).reshape(spec.shape)


@dataclass(frozen=True)
class Zstd(Codec, id="zstd", tag=9):
    """Lossless zstd over a tensor's bytes as they lie. For floats use Planes, for symbols Symbols: both beat it."""

    level: int = 1

    lossless = unbiased = True

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"frame": uint8}``."""
        return {"frame": as_tensor(zstd.compress(raw_bytes(x).numpy(), self.level))}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return one variable part."""
        return {"frame": Spec((VARIABLE,), torch.uint8)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the tensor, bit for bit."""
        data = zstd.decompress(parts["frame"].numpy().tobytes(), spec.nbytes)
        if len(data) != spec.nbytes:
            raise WireError(f"zstd: {len(data)} bytes decoded, the schema says {spec.nbytes}")
        if spec.dtype == torch.bool and max(data, default=0) > 1:
            raise WireError("zstd: a bool is neither 0 nor 1")
        return as_tensor(data).view(spec.dtype).reshape(spec.shape)


def as_tensor(data: bytes) -> Tensor:
    """Return bytes as a uint8 tensor of its own memory."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)
