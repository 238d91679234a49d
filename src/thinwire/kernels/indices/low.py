"""Coders that split a gap: low bits packed as they are, the high part in unary (rice) or in bytes under zstd (split).

Both start with a byte for the width of the low part; its bits follow in fields of at most 16. Random gaps are close to
geometric: rice costs 0.4 to 2.5 % more than their entropy; split, which Huffman codes the high part, about 1 %.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np

from thinwire.errors import WireError
from thinwire.kernels import zstd
from thinwire.kernels.gaps import ESCAPE
from thinwire.kernels.indices import limits, loops
from thinwire.kernels.indices.measured import Gaps
from thinwire.kernels.indices.reference import Bytes, Integers, packed_bytes

_FIELD_BITS = 16
BELOW_RICE = 3
_BELOW_RICE_IN_SHORT_LISTS = (3, 6)
_SHORT = 1 << 12


def encode_rice(gaps: Gaps) -> bytes:
    """Return Golomb-Rice codes with the best width: a high part is that many zeros and a one, high bits first.

    Low bits and unary are streams of their own, so that no loop depends on the element before.
    """
    width, high = gaps.rice
    unary: Bytes = loops.of(gaps.size).unary(gaps.values, width, high + gaps.size)
    return _low(gaps, width) + unary.tobytes()


def rice_bytes(gaps: Gaps) -> int:
    """Return the bytes that ``encode_rice`` makes."""
    width, high = gaps.rice
    return 1 + sum(packed_bytes(gaps.size, bits) for _, bits in _fields(width)) + packed_bytes(high + gaps.size, 1)


def _fields(width: int) -> list[tuple[int, int]]:
    return [(at, min(_FIELD_BITS, width - at)) for at in range(0, width, _FIELD_BITS)]


def _low(gaps: Gaps, width: int) -> bytes:
    pack = loops.of(gaps.size).pack
    return bytes([width]) + b"".join(pack(gaps.values, at, bits).tobytes() for at, bits in _fields(width))


def decode_rice(data: bytes, count: int) -> Integers:
    """Return the indices that ``encode_rice`` was given."""
    width, out, unary = _read_low(data, count)
    if not unary.size or not unary[-1]:
        raise WireError("indices: the last quotient is cut short or bytes follow it")
    limits.check_last(8 * unary.size - 7 - count << width)
    limits.check_found(loops.of(count).from_unary(unary, width, out), count)
    return out


def encode_split(gaps: Gaps) -> bytes | None:
    """Return low bits, then gap bytes under zstd; None where they would be too many. A little narrower than Rice.

    Short lists, whose gaps are often of two kinds, try several widths.
    """
    return min(filter(None, (_split(gaps, width) for width in _split_widths(gaps))), key=len, default=None)


def least_split_bytes(gaps: Gaps) -> float:
    """Return less than ``encode_split`` makes, unless the high parts repeat."""
    return min(width * gaps.size / 8 + gaps.least_bytes(width) for width in _split_widths(gaps))


def _split_widths(gaps: Gaps) -> list[int]:
    below = (BELOW_RICE,) if gaps.size >= _SHORT else _BELOW_RICE_IN_SHORT_LISTS
    return sorted({max(gaps.rice[0] - fewer, 0) for fewer in below})


def _split(gaps: Gaps, width: int) -> bytes | None:
    high = gap_bytes(gaps, width)
    return None if high is None else _low(gaps, width) + zstd.compress(high, repeats=False)


def gap_bytes(gaps: Gaps, width: int) -> Bytes | None:
    """Return the gaps without their low ``width`` bits, as bytes; None where they may be more than a decoder takes."""
    most = (gaps.total >> width) // ESCAPE + gaps.size
    if most > limits.most_gap_bytes(gaps.size):
        return None
    high: Bytes = loops.of(gaps.size).gap_bytes(gaps.values, width, most)
    return high


def decode_split(data: bytes, count: int) -> Integers:
    """Return the indices that ``encode_split`` was given."""
    width, out, packed = _read_low(data, count)
    return from_gap_bytes(zstd.decompress(packed.tobytes(), limits.most_gap_bytes(count)), width, out)


def from_gap_bytes(content: bytes, width: int, out: Integers) -> Integers:
    """Return ``out``, the low parts of gaps, turned into indices with the high parts of ``gap_bytes``."""
    high = np.frombuffer(content, np.uint8)
    if not high.size or high[-1] == ESCAPE:
        raise WireError("indices: the last gap is cut short")
    limits.check_last(int(high.sum(dtype=np.int64)) << width)
    limits.check_found(loops.of(out.size).from_gap_bytes(high, width, out), out.size)
    return out


def _read_low(data: bytes, count: int) -> tuple[int, Integers, Bytes]:
    """Return the width, the low parts and the bytes that follow."""
    if not data:
        raise WireError("indices: no remainder width")
    limits.check_width(width := data[0], count)
    fields = _fields(width)
    ends = accumulate((packed_bytes(count, bits) for _, bits in fields), initial=1)
    low, end = np.zeros(count, np.int64), 1
    for (at, bits), (start, end) in zip(fields, pairwise(ends), strict=True):
        low |= _unpack(data[start:end], bits, count) << at
    return width, low, np.frombuffer(data[end:], np.uint8)


def _unpack(data: bytes, bits: int, count: int) -> Integers:
    if len(data) != packed_bytes(count, bits) or (count * bits % 8 and data[-1] >> count * bits % 8):
        raise WireError("indices: the remainders are cut short or their padding is not zero")
    low: Integers = loops.of(count).unpack(np.frombuffer(data, np.uint8), bits, count)
    return low
