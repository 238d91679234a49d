"""Three coders for the gaps of ascending indices, on numpy arrays: gap bytes, Golomb-Rice, bitmap.

A gap is the number of indices skipped since the one before. Every decoder takes the number of indices and needs memory
in proportion to that number and to the bytes given, whatever they claim; anything illegal raises WireError.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from thinwire.errors import WireError
from thinwire.kernels import dispatch, gaps, zstd

MOST = 2**40
"""Indices are below this, which keeps every sum within int64."""
_FIELD_BITS = 16

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


def encode_gaps(values: Integers) -> bytes | None:
    """Return the gaps as bytes, then zstd; None where they exceed ``_most_gap_bytes``."""
    if gaps.encoded_bytes(values) > _most_gap_bytes(len(values)):
        return None
    return zstd.compress(gaps.encode(values))


def decode_gaps(data: bytes, count: int) -> Integers:
    """Return the indices that ``encode_gaps`` was given."""
    indices = gaps.decode(zstd.decompress(data, _most_gap_bytes(count)), count)
    if indices.size != count:
        raise WireError(f"indices: the stream holds {indices.size} indices, expected {count}")
    return indices


def _most_gap_bytes(count: int) -> int:
    return 16 * count + 4096


def encode_rice(values: Integers) -> bytes:
    """Return Golomb-Rice codes with the best remainder width (Golomb 1966; Rice and Plaunt 1971).

    One byte says the width r. Then all low r bits, in fields of at most 16, then the quotients in unary: that many
    zeros and a one. Separate streams, so that no loop depends on the element before.
    """
    width = _best_width(values)
    low = torch.from_numpy(values & ((1 << width) - 1))
    fields = [dispatch.pack(low >> at & 0xFFFF, bits).numpy().tobytes() for at, bits in _fields(width)]
    ends = np.cumsum((values >> width) + 1) - 1
    unary = np.zeros(int(ends[-1]) + 1, np.uint8)
    unary[ends] = 1
    return bytes([width]) + b"".join(fields) + np.packbits(unary).tobytes()


def _best_width(values: Integers) -> int:
    guess = max(int(values.mean()), 1).bit_length() - 1
    return min(range(max(guess - 1, 0), guess + 2), key=lambda r: r * len(values) + int((values >> r).sum()))


def _fields(width: int) -> list[tuple[int, int]]:
    return [(at, min(_FIELD_BITS, width - at)) for at in range(0, width, _FIELD_BITS)]


def decode_rice(data: bytes, count: int) -> Integers:
    """Return the indices that ``encode_rice`` was given."""
    if not data or count << data[0] > 4 * MOST:
        raise WireError(f"indices: no remainder width that {count} gaps below {MOST} can have")
    width, at = data[0], 1
    low = np.zeros(count, np.int64)
    for place, bits in _fields(width):
        end = at + dispatch.packed_bytes(count, bits)
        low |= _unpack(data[at:end], bits, count) << place
        at = end
    quotients = _decode_unary(np.frombuffer(data[at:], np.uint8), count)
    if int(quotients[-1]) << width >= MOST:
        raise WireError(f"indices: an index is {MOST} or more")
    return (quotients << width) + np.cumsum(low) + np.arange(count)


def _unpack(data: bytes, bits: int, count: int) -> Integers:
    if len(data) != dispatch.packed_bytes(count, bits) or (count * bits % 8 and data[-1] >> count * bits % 8):
        raise WireError("indices: the remainders are cut short or their padding is not zero")
    packed = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
    return dispatch.unpack(packed, bits, count).numpy().astype(np.int64)


def _decode_unary(data: Bytes, count: int) -> Integers:
    """Return the running sums of the quotients."""
    ends = _places(np.unpackbits(data), count)
    if int(ends[-1]) // 8 != len(data) - 1:
        raise WireError("indices: bytes follow the last quotient")
    return ends - np.arange(count)


def encode_bitmap(values: Integers) -> bytes | None:
    """Return one bit per place up to the last index, then zstd; None where it exceeds ``_most_bitmap_bytes``."""
    indices = np.cumsum(values + 1) - 1
    places = indices >> 3
    if int(places[-1]) >= _most_bitmap_bytes(len(values)):
        return None
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    bitmap = np.zeros(int(places[-1]) + 1, np.uint8)
    bitmap[places[starts]] = np.bitwise_or.reduceat((1 << (indices & 7)).astype(np.uint8), starts)
    return zstd.compress(bitmap)


def decode_bitmap(data: bytes, count: int) -> Integers:
    """Return the indices that ``encode_bitmap`` was given."""
    bitmap = np.frombuffer(zstd.decompress(data, _most_bitmap_bytes(count)), np.uint8)
    if np.count_nonzero(bitmap) > count or not bitmap[-1:].any():
        raise WireError(f"indices: the bitmap is not one of {count} indices up to the last")
    places = np.flatnonzero(bitmap)
    ones = _places(np.unpackbits(bitmap[places], bitorder="little"), count)
    return np.asarray(places[ones >> 3] * 8 + (ones & 7))


def _most_bitmap_bytes(count: int) -> int:
    return 64 * count + 64


def _places(flags: NDArray[np.bool_] | Bytes, count: int) -> Integers:
    # Counted first: the places of a hostile stream's flags would take eight bytes each.
    found = np.count_nonzero(flags)
    if found != count:
        raise WireError(f"indices: the stream holds {found} indices, expected {count}")
    return np.flatnonzero(flags)
