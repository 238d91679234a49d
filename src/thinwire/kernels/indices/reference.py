"""The loops over indices in numpy: slow, obvious, and the truth that the compiled ones must equal.

What fills ``out`` returns how many indices the bytes hold, or stops above ``out.size``; unless it is ``out.size``, what
was filled in means nothing. Sums are for the caller to bound: no loop checks for overflow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels import gaps

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


def packed_bytes(count: int, bits: int) -> int:
    """Return the bytes that ``count`` fields of ``bits`` bits take."""
    return (count * bits + 7) // 8


def pack(values: Integers, at: int, bits: int) -> Bytes:
    """Return bits ``at`` to ``at + bits`` (at most 16 of them) of every value, low bits first, no holes."""
    pairs = (values >> at & 0xFFFF).astype("<u2").view(np.uint8).reshape(-1, 2)
    return np.packbits(np.unpackbits(pairs, axis=1, count=bits, bitorder="little"), bitorder="little")


def unpack(data: Bytes, bits: int, count: int) -> Integers:
    """Return the fields that ``pack`` was given; ``data`` must hold exactly ``packed_bytes(count, bits)``."""
    flags = np.zeros((count, 16), np.uint8)
    flags[:, :bits] = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(flags, axis=1, bitorder="little").view("<u2").ravel().astype(np.int64)


def high_sum(values: Integers, width: int) -> int:
    """Return the sum of ``values >> width``."""
    return int((values >> width).sum())


def unary(values: Integers, width: int, bits: int) -> Bytes:
    """Return every ``values >> width`` as that many zeros and a one, high bits first: ``bits`` of them in all."""
    ends = np.cumsum((values >> width) + 1) - 1
    flags = np.zeros(bits, np.uint8)
    flags[ends] = 1
    return np.packbits(flags)


def from_unary(data: Bytes, width: int, out: Integers) -> int:
    """Turn the low ``width`` bits of gaps in ``out`` into indices, with the high ones that ``unary`` was given."""
    flags = np.unpackbits(data)
    # Counted first: the places of a hostile stream's flags would take eight bytes each.
    if (found := int(np.count_nonzero(flags))) == out.size:
        _ascend(np.flatnonzero(flags), width, out)
    return found


def gap_bytes(values: Integers, width: int, most: int) -> Bytes:
    """Return every ``values >> width`` as bytes, where 255 is "255 more and go on": at most ``most`` of them in all."""
    return np.frombuffer(gaps.encode(values >> width), np.uint8)


def from_gap_bytes(data: Bytes, width: int, out: Integers) -> int:
    """Turn the low ``width`` bits of gaps in ``out`` into indices, with the high ones that ``gap_bytes`` was given.

    ``data`` must not end in 255.
    """
    if (found := int(np.count_nonzero(data != gaps.ESCAPE))) == out.size:
        _ascend(gaps.decode(data.tobytes(), out.size), width, out)
    return found


def _ascend(high: Integers, width: int, out: Integers) -> None:
    """Add the indices that the high parts alone would give to the low parts of gaps."""
    order = np.arange(out.size)
    out[:] = (high - order << width) + np.cumsum(out) + order


def bitmap(values: Integers, size: int) -> Bytes:
    """Return ``size`` bytes, low bits first, with a one at every index that the gaps lead to."""
    indices = np.cumsum(values + 1) - 1
    places = indices >> 3
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    out = np.zeros(size, np.uint8)
    out[places[starts]] = np.bitwise_or.reduceat((1 << (indices & 7)).astype(np.uint8), starts)
    return out


def from_bitmap(data: Bytes, out: Integers) -> int:
    """Fill in the indices that ``bitmap`` was given."""
    places = np.flatnonzero(data)
    if len(places) > out.size:
        return len(places)
    flags = np.unpackbits(data[places], bitorder="little")
    if (found := int(np.count_nonzero(flags))) == out.size:
        ones = np.flatnonzero(flags)
        out[:] = places[ones >> 3] * 8 + (ones & 7)
    return found
