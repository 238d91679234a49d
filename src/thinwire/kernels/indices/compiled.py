"""The loops of ``reference`` compiled by numba for one CPU core, with the same results. They release the GIL.

No loop checks bounds, so each states what keeps it inside its arrays.
"""

from __future__ import annotations

import numpy as np

from thinwire.kernels.indices.reference import Bytes, Integers, packed_bytes
from thinwire.kernels.jit import njit

_jit = njit(cache=True, nogil=True, boundscheck=False)
_SPARE = 8


def pack(values: Integers, at: int, bits: int) -> Bytes:
    """Equal ``reference.pack``."""
    out = np.empty(packed_bytes(len(values), bits), np.uint8)
    _pack(values, at, bits, out)
    return out


def unpack(data: Bytes, bits: int, count: int) -> Integers:
    """Equal ``reference.unpack``."""
    out = np.empty(count, np.int64)
    _unpack(np.append(data, np.zeros(2, np.uint8)), bits, out)
    return out


def high_sum(values: Integers, width: int) -> int:
    """Equal ``reference.high_sum``."""
    return int(_high_sum(values, width))


def unary(values: Integers, width: int, bits: int) -> Bytes:
    """Equal ``reference.unary``."""
    out = np.zeros(packed_bytes(bits, 1), np.uint8)
    _unary(values, width, out)
    return out


def from_unary(data: Bytes, width: int, out: Integers) -> int:
    """Equal ``reference.from_unary``."""
    return int(_from_unary(data, width, out, np.empty(out.size + _SPARE, np.int64)))


def gap_bytes(values: Integers, width: int, most: int) -> Bytes:
    """Equal ``reference.gap_bytes``."""
    out = np.empty(most, np.uint8)
    return out[: _gap_bytes(values, width, out)]


def from_gap_bytes(data: Bytes, width: int, out: Integers) -> int:
    """Equal ``reference.from_gap_bytes``."""
    return int(_from_gap_bytes(data, width, out, np.empty(out.size + 1, np.int64)))


def bitmap(values: Integers, size: int) -> Bytes:
    """Equal ``reference.bitmap``."""
    out = np.zeros(size, np.uint8)
    _bitmap(values, out)
    return out


def from_bitmap(data: Bytes, out: Integers) -> int:
    """Equal ``reference.from_bitmap``."""
    places = np.empty(out.size + _SPARE, np.int64)
    found = int(_from_bitmap(data, out.size, places))
    out[:] = places[: out.size]
    return found


@_jit
def _pack(values, at, bits, out):  # type: ignore[no-untyped-def]
    # Inside ``out``: a byte is written for every 8 bits, and one for what is left.
    mask = (1 << bits) - 1
    held, fill, place = 0, 0, 0
    for i in range(values.size):
        held |= (values[i] >> at & mask) << fill
        fill += bits
        if fill >= 32:
            out[place] = held & 255
            out[place + 1] = held >> 8 & 255
            out[place + 2] = held >> 16 & 255
            out[place + 3] = held >> 24 & 255
            place += 4
            held >>= 32
            fill -= 32
    while fill > 0:
        out[place] = held & 255
        place += 1
        held >>= 8
        fill -= 8


@_jit
def _unpack(data, bits, out):  # type: ignore[no-untyped-def]
    # Inside ``data``: it ends in two bytes more than the fields take, and a field lies within three.
    mask = (1 << bits) - 1
    for i in range(out.size):
        place = i * bits
        j = place >> 3
        three = int(data[j]) | int(data[j + 1]) << 8 | int(data[j + 2]) << 16
        out[i] = three >> (place & 7) & mask


@_jit
def _high_sum(values, width):  # type: ignore[no-untyped-def]
    total = 0
    for i in range(values.size):
        total += values[i] >> width
    return total


@_jit
def _unary(values, width, out):  # type: ignore[no-untyped-def]
    # Inside ``out``: it has a bit for every zero and one.
    place = -1
    for i in range(values.size):
        place += (values[i] >> width) + 1
        out[place >> 3] |= 128 >> (place & 7)


@_jit
def _from_unary(data, width, out, high):  # type: ignore[no-untyped-def]
    # Inside ``high``: it has eight places more than ``out``, and no byte is read once that is overfull.
    found, run = 0, 0
    for j in range(data.size):
        byte = int(data[j])
        if byte == 0:
            run += 8
            continue
        if found > out.size:
            return found
        for k in range(8):
            one = byte >> (7 - k) & 1
            high[found] = run
            found += one
            run = (run + 1) * (1 - one)
    if found == out.size:
        _ascend(high, width, out)
    return found


@_jit
def _gap_bytes(values, width, out):  # type: ignore[no-untyped-def]
    # Inside ``out``: the caller bounds the bytes by the sum of the gaps.
    place = 0
    for i in range(values.size):
        left = values[i] >> width
        while left >= 255:
            out[place] = 255
            place += 1
            left -= 255
        out[place] = left
        place += 1
    return place


@_jit
def _from_gap_bytes(data, width, out, high):  # type: ignore[no-untyped-def]
    # Inside ``high``: it has one place more than ``out``, and no byte is read once that is overfull.
    found, run = 0, 0
    for j in range(data.size):
        if found > out.size:
            return found
        byte = int(data[j])
        run += byte
        high[found] = run
        last = byte != 255
        found += last
        run = 0 if last else run
    if found == out.size:
        _ascend(high, width, out)
    return found


@_jit
def _ascend(high, width, out):  # type: ignore[no-untyped-def]
    index = -1
    for i in range(out.size):
        index += (high[i] << width) + out[i] + 1
        out[i] = index


@_jit
def _bitmap(values, out):  # type: ignore[no-untyped-def]
    # Inside ``out``: the caller's size covers the last index.
    place = -1
    for i in range(values.size):
        place += values[i] + 1
        out[place >> 3] |= 1 << (place & 7)


@_jit
def _from_bitmap(data, count, places):  # type: ignore[no-untyped-def]
    # Inside ``places``: it has eight more than ``count``, and no byte is read once there are more than that.
    found = 0
    for j in range(data.size):
        byte = int(data[j])
        if byte == 0:
            continue
        if found > count:
            return found
        for k in range(8):
            places[found] = 8 * j + k
            found += byte >> k & 1
    return found
