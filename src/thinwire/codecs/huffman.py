"""Entropy coding of small signed integers, such as a quantizer's symbols: canonical Huffman."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.codec import VARIABLE, Codec, Spec, State
from thinwire.errors import WireError
from thinwire.kernels import huffman as kernel
from thinwire.kernels.huffman import Bytes

_ESCAPE = 255
_MOST_TABLE_BYTES = 1 + 192


@dataclass(frozen=True)
class Huffman(Codec, id="huffman", tag=17):
    """Lossless for int32 tensors of any shape, made for many small values: 0 is symbol 0, then -1, 1, -2, 2, ...

    The stream is the table of code lengths (at most 15 bits), the words, and 4 bytes for each value beyond -127 .. 127.
    A tensor of one value costs the table alone. Huffman (1952); canonical form as in RFC 1951.
    """

    lossless = unbiased = integers = True

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"stream": uint8}``. Raises ValueError unless ``x`` is int32."""
        if x.dtype != torch.int32:
            raise ValueError(f"Huffman takes int32 tensors, given {x.dtype}; use Planes for other dtypes")
        if x.numel() == 0:
            return {"stream": torch.empty(0, dtype=torch.uint8)}, {}
        codes = _zigzag(x.contiguous().reshape(-1).cpu().numpy())
        lengths, words = kernel.encode(np.minimum(codes, _ESCAPE).astype(np.uint8))
        escapes = codes[codes >= _ESCAPE].astype("<u4").view(np.uint8)
        return {"stream": torch.from_numpy(np.concatenate([pack_lengths(lengths), words, escapes]))}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return one variable part."""
        return {"stream": Spec((VARIABLE,), torch.uint8)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the tensor. The stream must hold exactly its elements, with zero padding and no other byte."""
        if spec.dtype != torch.int32:
            raise WireError(f"huffman: holds int32, the schema says {spec.dtype}")
        stream = parts["stream"].contiguous().cpu().numpy()
        codes = _read(stream, spec.numel) if spec.numel else _nothing(stream)
        return torch.from_numpy(_unzigzag(codes)).reshape(spec.shape)


def _read(stream: Bytes, count: int) -> NDArray[np.uint32]:
    lengths, table_bytes = unpack_lengths(stream)
    symbols, used_bits = kernel.decode(stream[table_bytes:], lengths, count)
    rest = table_bytes + (used_bits + 7) // 8
    escaped = symbols == _ESCAPE
    if len(stream) - rest != 4 * int(escaped.sum()):
        raise WireError(f"huffman: {len(stream)} bytes are not what {count} elements take")
    if used_bits % 8 and int(stream[rest - 1]) & (0xFF >> used_bits % 8):
        raise WireError("huffman: the padding bits are not zero")
    return _with_escapes(symbols, escaped, stream[rest:].copy().view("<u4"))


def _with_escapes(symbols: Bytes, escaped: NDArray[np.bool_], values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    if values.size and int(values.min()) < _ESCAPE:
        raise WireError("huffman: an escaped value is small enough to have its own symbol")
    codes = symbols.astype(np.uint32)
    codes[escaped] = values
    return codes


def _nothing(stream: Bytes) -> NDArray[np.uint32]:
    if stream.size:
        raise WireError(f"huffman: {stream.size} bytes for no elements")
    return np.empty(0, np.uint32)


def _zigzag(values: NDArray[np.int32]) -> NDArray[np.uint32]:
    return ((values << 1) ^ (values >> 31)).view(np.uint32)


def _unzigzag(codes: NDArray[np.uint32]) -> NDArray[np.int32]:
    return (codes >> np.uint32(1)).view(np.int32) ^ -(codes & np.uint32(1)).view(np.int32)


def pack_lengths(lengths: Bytes) -> Bytes:
    """Return the table's bytes: the last used symbol, then nibbles, low one first; 0 and n stand for n + 1 zeros."""
    last = int(np.flatnonzero(lengths)[-1])
    nibbles: list[int] = []
    for length, group in groupby(lengths[: last + 1].tolist()):
        run = len(list(group))
        nibbles += [length] * run if length else [0, 15] * ((run - 1) // 16) + [0, (run - 1) % 16]
    nibbles += [0] * (len(nibbles) % 2)
    return np.array([last, *(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))], np.uint8)


def unpack_lengths(stream: Bytes) -> tuple[Bytes, int]:
    """Return the 256 code lengths at the head of a stream, and the bytes they take."""
    head = stream[:_MOST_TABLE_BYTES].tolist()
    nibbles = [nibble for byte in head[1:] for nibble in (byte & 15, byte >> 4)]
    try:
        lengths, at = _expand(nibbles, head[0] + 1)
    except IndexError:
        raise WireError("huffman: the table of code lengths is cut short") from None
    if len(lengths) != head[0] + 1 or not lengths[-1] or (at % 2 and nibbles[at]):
        raise WireError("huffman: the table of code lengths does not end at the last symbol")
    padded = np.zeros(kernel.ALPHABET, np.uint8)
    padded[: len(lengths)] = lengths
    return padded, 1 + (at + 1) // 2


def _expand(nibbles: list[int], count: int) -> tuple[list[int], int]:
    lengths: list[int] = []
    at = 0
    while len(lengths) < count:
        length = nibbles[at]
        lengths += [length] if length else [0] * (nibbles[at + 1] + 1)
        at += 1 if length else 2
    return lengths, at
