"""Canonical Huffman codes of at most 15 bits: code lengths, code words and the two bit loops, on numpy arrays.

The loops are plain Python: short streams run them as they stand, long ones run them compiled by numba (loaded on first
use, no GIL held), with the same bits. Canonical codes as in RFC 1951, section 3.2.2, but most significant bit first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import WireError

MAX_BITS = 15
ALPHABET = 256
LOOKAHEAD = 4
_HELD = (1 << MAX_BITS) - 1
_WORTH_COMPILING = 1 << 14

Bytes = NDArray[np.uint8]


def code_lengths(counts: NDArray[np.int64]) -> Bytes:
    """Return the code length in bits of every symbol, 0 for unused ones; a lone symbol has length 1.

    Huffman's tree (1952). Where it is deeper than 15 the counts are halved until it is not, as bzip2 does: such symbols
    are rarer than one in 2**15, so the loss is small.
    """
    lengths = _tree_depths(counts.tolist())
    while max(lengths, default=0) > MAX_BITS:
        counts = (counts + 1) // 2
        lengths = _tree_depths(counts.tolist())
    return np.array(lengths, np.uint8)


def _tree_depths(counts: list[int]) -> list[int]:
    heap = [(count, symbol, [symbol]) for symbol, count in enumerate(counts) if count]
    depths = [int(len(heap) == 1 and count > 0) for count in counts]
    heapq.heapify(heap)
    while len(heap) > 1:
        (rarer, name, left), (other, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in left + right:
            depths[symbol] += 1
        heapq.heappush(heap, (rarer + other, name, left + right))
    return depths


def encode(symbols: Bytes) -> tuple[Bytes, Bytes]:
    """Return the 256 code lengths and the bit stream, zero-padded to whole bytes, of 1-D uint8 symbols."""
    counts = np.bincount(symbols, minlength=ALPHABET)
    lengths = code_lengths(counts)
    order, widths = _canonical(lengths)
    words, spans = np.zeros(ALPHABET, np.int32), np.zeros(ALPHABET, np.int32)
    spans[order] = widths
    words[order] = (np.cumsum(1 << MAX_BITS - widths) - (1 << MAX_BITS - widths)) >> MAX_BITS - widths
    out = np.zeros((int(counts @ spans) + 7) // 8, np.uint8)
    _run(write, len(symbols), (symbols, words, spans), out)
    return lengths, out


def decode(packed: Bytes, lengths: Bytes, count: int) -> tuple[Bytes, int]:
    """Return ``count`` uint8 symbols and the bits read, which are more than ``packed`` has where it is cut short.

    Raises WireError unless the lengths form a complete prefix code (Kraft sum exactly 1) or name a lone symbol.
    """
    order, widths = _canonical(lengths)
    if int((1 << MAX_BITS - widths).sum()) != 1 << MAX_BITS or (len(order) == 1 and lengths[order[0]] != 1):
        raise WireError("huffman: the code lengths form no complete prefix code")
    width = int(widths.max())
    table = np.repeat((order << 4 | widths).astype(np.uint16), 1 << width - widths)
    out = np.empty(count, np.uint8)
    used_bits = _run(read, count, (np.append(packed, np.zeros(LOOKAHEAD, np.uint8)), table, width), out)
    return out, int(used_bits)


def _canonical(lengths: Bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the used symbols in code order and their widths in bits; a lone symbol takes none."""
    used = np.flatnonzero(lengths)
    order = used[np.argsort(lengths[used], kind="stable")]
    return order, lengths[order].astype(np.int64) * (len(order) != 1)


def _run(loop: Callable[..., Any], count: int, given: tuple[Any, ...], out: Bytes) -> Any:
    if count >= _WORTH_COMPILING:
        return compiled(loop)(*given, out)
    return loop(*(item.tolist() if isinstance(item, np.ndarray) else item for item in given), out.data)


@cache
def compiled(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``write`` or ``read`` compiled for one CPU core."""
    from thinwire.kernels.jit import njit

    fast: Callable[..., Any] = njit(cache=True, nogil=True, boundscheck=False)(plain)
    return fast


def write(symbols: Any, words: Any, spans: Any, out: Any) -> None:
    """Append every symbol's word of ``spans[symbol]`` bits to ``out``, which is zero and exactly long enough."""
    held, fill, at = 0, 0, 0
    for symbol in symbols:
        held = held << spans[symbol] | words[symbol]
        fill += spans[symbol]
        while fill >= 8:
            fill -= 8
            out[at] = held >> fill & 255
            at += 1
        held &= (1 << fill) - 1
    if fill > 0:
        out[at] = held << (8 - fill)


def read(packed: Any, table: Any, width: int, out: Any) -> int:
    """Fill ``out`` with symbols and return the bits read. ``packed`` ends in four bytes more than the stream.

    ``table`` maps the next ``width`` bits to ``symbol << 4 | bits``. Reading past the end stays on the last bytes, so
    that every index is legal: the caller sees it in the bits read.
    """
    end, mask = len(packed) - LOOKAHEAD, (1 << width) - 1
    held, fill, at = 0, 0, 0
    for i in range(len(out)):
        if fill < width:
            k = min(at, end)
            four = packed[k] << 24 | packed[k + 1] << 16 | packed[k + 2] << 8 | packed[k + 3]
            held = (held & _HELD) << 32 | four
            at += LOOKAHEAD
            fill += 8 * LOOKAHEAD
        entry = table[held >> (fill - width) & mask]
        out[i] = entry >> 4
        fill -= entry & 15
    return 8 * at - fill
