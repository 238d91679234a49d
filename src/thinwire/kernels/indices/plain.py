"""Coders of whole gaps or places: gap bytes under zstd, a bitmap under zstd, 12-bit offsets in blocks of 4096."""

from __future__ import annotations

import numpy as np

from thinwire.errors import WireError
from thinwire.kernels import zstd
from thinwire.kernels.indices import limits, loops
from thinwire.kernels.indices.low import from_gap_bytes, gap_bytes
from thinwire.kernels.indices.measured import Gaps
from thinwire.kernels.indices.reference import Bytes, Integers, packed_bytes

_OFFSET_BITS = 12
_SAMPLE_BYTES = 1 << 13


def encode_gaps(gaps: Gaps) -> bytes | None:
    """Return the gaps as bytes, then zstd; None where they would be too many."""
    content = gap_bytes(gaps, 0)
    return None if content is None else _squeezed(content)


def _squeezed(content: Bytes) -> bytes:
    """Return a zstd frame. Random places do best by Huffman coding alone, repeated ones do not: the start decides."""
    start = content[:_SAMPLE_BYTES]
    frames = {repeats: zstd.compress(start, repeats=repeats) for repeats in (True, False)}
    best = min(frames, key=lambda repeats: len(frames[repeats]))
    return frames[best] if start.size == content.size else zstd.compress(content, repeats=best)


def decode_gaps(data: bytes, count: int) -> Integers:
    """Return the indices that ``encode_gaps`` was given."""
    return from_gap_bytes(zstd.decompress(data, limits.most_gap_bytes(count)), 0, np.zeros(count, np.int64))


def encode_bitmap(gaps: Gaps) -> bytes | None:
    """Return one bit per place up to the last index, low bits first, then zstd; None where it would be too long."""
    size_bytes = gaps.last // 8 + 1
    if size_bytes > limits.most_bitmap_bytes(gaps.size):
        return None
    return _squeezed(loops.of(gaps.size).bitmap(gaps.values, size_bytes))


def decode_bitmap(data: bytes, count: int) -> Integers:
    """Return the indices that ``encode_bitmap`` was given."""
    bits = np.frombuffer(zstd.decompress(data, limits.most_bitmap_bytes(count)), np.uint8)
    if not bits[-1:].any():
        raise WireError("indices: the bitmap does not end at the last index")
    out = np.empty(count, np.int64)
    limits.check_found(loops.of(count).from_bitmap(bits, out), count)
    return out


def encode_local12(gaps: Gaps) -> bytes | None:
    """Return u16 counts of the blocks of 4096 places up to the last index, then all offsets in blocks, 12 bits each.

    Where an offset lies follows from its number, so that a device can write all at once. From 12 indices up Rice is
    always smaller: this coder is for its fixed widths. None where blocks outnumber indices by far.
    """
    blocks = (gaps.last >> _OFFSET_BITS) + 1
    if 2 * blocks > limits.most_gap_bytes(gaps.size):
        return None
    indices = np.cumsum(gaps.values + 1) - 1
    counts = np.bincount(indices >> _OFFSET_BITS, minlength=blocks).astype("<u2")
    return counts.tobytes() + bytes(loops.of(gaps.size).pack(indices, 0, _OFFSET_BITS))


def decode_local12(data: bytes, count: int) -> Integers:
    """Return the indices that ``encode_local12`` was given."""
    split = len(data) - packed_bytes(count, _OFFSET_BITS)
    if split < 2 or split % 2 or (count % 2 and data[-1] >> 4):
        raise WireError("indices: the counts or offsets are cut short, or their padding is not zero")
    counts = np.frombuffer(data[:split], "<u2").astype(np.int64)
    if int(counts.sum()) != count or not counts[-1]:
        raise WireError(f"indices: blocks of {int(counts.sum())} indices up to the last, expected {count}")
    offsets = loops.of(count).unpack(np.frombuffer(data[split:], np.uint8), _OFFSET_BITS, count)
    out: Integers = np.repeat(np.arange(len(counts)) << _OFFSET_BITS, counts) + offsets
    if not (out[1:] > out[:-1]).all():
        raise WireError("indices: the offsets of a block are not strictly ascending")
    return out
