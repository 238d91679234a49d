"""Entropy coding of small integers: bit packing or sparse coding per chunk, then zstd.

zstd codes bytes, at no less than one bit each. Packing 2 or 4 symbols into a byte makes it code them jointly, which is
within about 1 % of their entropy; below about 20 % non-zeros, gaps between non-zeros do better (docs/methods.md).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import VARIABLE, Codec, Spec, State, Stream
from thinwire.errors import WireError
from thinwire.kernels import chunks, fresh, zstd
from thinwire.kernels.raw_bytes import raw_bytes


@dataclass(frozen=True)
class Symbols(Stream, id="symbols", tag=8):
    """Lossless bytes for int32 tensors of mostly small values: each chunk is coded in the way that suits it."""

    level: int = 1

    lossless = unbiased = True
    piece = chunks.CHUNK

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"stream": uint8}``: the length of every chunk but the last, then the chunks. int32 only."""
        if x.dtype != torch.int32:
            raise ValueError(f"Symbols takes int32 tensors, given {x.dtype}; use Planes for other dtypes")
        flat = x.reshape(-1).cpu()
        return self.write(torch.split(flat, self.piece), tuple(x.shape)), {}

    def write(self, pieces: Iterable[Tensor], shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Return what ``to_parts`` returns, from its pieces."""
        count = math.prod(shape)
        head = _head_bytes(count)
        stream, lengths = bytearray(head), list[int]()
        for piece in pieces if count else ():
            chunk = chunks.encode(piece.numpy(), self.level)
            lengths.append(len(chunk))
            stream += chunk
        struct.pack_into(f"<{head // 4}I", stream, 0, *lengths[: head // 4])
        return {"stream": as_tensor(stream)}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return one variable part."""
        return {"stream": Spec((VARIABLE,), torch.uint8)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the integers."""
        if spec.dtype != torch.int32:
            raise WireError(f"symbols: the schema says {spec.dtype}, expected torch.int32")
        out = fresh.empty((spec.numel,), torch.int32)
        for piece, into in zip(self.read(parts, spec.shape), torch.split(out, self.piece), strict=False):
            into.copy_(piece)
        return out.reshape(spec.shape)

    def read(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Iterator[Tensor]:
        """Yield the chunks: int8 where no symbol of one is larger, else int32."""
        data, count = parts["stream"].contiguous().numpy().data, math.prod(shape)
        counts = chunks.counts(count)
        for start, end, length in zip(*_bounds(data, count), counts, strict=True):
            yield torch.from_numpy(chunks.decode_narrow(data[start:end], length))


def _head_bytes(count: int) -> int:
    """Return how many bytes the lengths of all chunks but the last of ``count`` symbols take."""
    return 4 * max(len(chunks.counts(count)) - 1, 0)


def _bounds(data: memoryview, count: int) -> tuple[list[int], list[int]]:
    """Return where each chunk of a stream begins and ends. Raises WireError unless they fill it."""
    head = _head_bytes(count)
    if len(data) < head:
        raise WireError("symbols: the stream is cut short")
    lengths = struct.unpack_from(f"<{head // 4}I", data)
    starts = [head, *(head + int(end) for end in np.cumsum(lengths, dtype=np.int64))]
    if starts[-1] > len(data) or (not count and len(data)):
        raise WireError("symbols: chunk lengths disagree with the stream")
    return (starts, [*starts[1:], len(data)]) if count else ([], [])


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


def as_tensor(data: bytes | bytearray) -> Tensor:
    """Return bytes as a uint8 tensor of its own memory; a bytearray becomes the tensor's."""
    own = data if isinstance(data, bytearray) else bytearray(data)
    return torch.frombuffer(own, dtype=torch.uint8) if own else torch.zeros(0, dtype=torch.uint8)
