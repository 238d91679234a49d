"""The same compiled by numba for one CPU core, in loops that become vector instructions. They release the GIL."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.codes.reference import Bytes, Symbols
from thinwire.kernels.jit import njit
from thinwire.kernels.select.lanes import LANES, lowest_bit, word_at_least

_jit = njit(cache=True, nogil=True, boundscheck=False)
_FLIP = np.uint8(128)
"""Turns the order of unsigned bytes into that of signed ones, which can be compared 64 at once."""


def cut(symbols: Symbols) -> tuple[Bytes, list[int]]:
    """Equal ``reference.cut``."""
    codes = np.empty(symbols.size, np.uint8)
    return codes, list(_cut(symbols, codes))


def pack(codes: Bytes, bits: int) -> Bytes:
    """Equal ``reference.pack``."""
    if bits == 8:
        return codes
    together = 8 // bits
    missing = -codes.size % together
    whole = np.pad(codes, (0, missing)) if missing else codes
    out = np.empty(whole.size // together, np.uint8)
    (_pack2 if bits == 2 else _pack4)(whole, out)
    return out


def unpack(packed: Bytes, bits: int, count: int) -> Bytes:
    """Equal ``reference.unpack``."""
    if bits == 8:
        return packed[:count]
    out = np.empty(packed.size * (8 // bits), np.uint8)
    (_unpack2 if bits == 2 else _unpack4)(packed, out)
    return out[:count]


def places(codes: Bytes, count: int) -> NDArray[np.int64]:
    """Equal ``reference.places``."""
    out = np.empty(count, np.int64)
    _places(*_signed(codes, 1), out)
    return out


def beyond(symbols: Symbols, codes: Bytes, escape: int, count: int) -> Symbols:
    """Equal ``reference.beyond``."""
    out = np.empty(count, np.int32)
    _beyond(symbols, *_signed(codes, escape), np.uint32(escape), out)
    return out


def joined(codes: Bytes, escape: int, escaped: Symbols) -> Symbols:
    """Equal ``reference.joined``."""
    out = np.empty(codes.size, np.int32)
    _joined(codes, *_signed(codes, escape), escaped, out)
    return out


def _signed(codes: Bytes, least: int) -> tuple[NDArray[np.int8], np.int8]:
    return (codes ^ _FLIP).view(np.int8), np.int8(least - int(_FLIP))


@_jit
def _cut(symbols, out):  # type: ignore[no-untyped-def]
    some, beyond2, beyond4, beyond8 = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for i in range(symbols.size):
        code = np.uint32((symbols[i] << np.int32(1)) ^ (symbols[i] >> np.int32(31)))
        byte = np.uint8(min(code, np.uint32(255)))
        out[i] = byte
        some += np.int32(byte >= 1)
        beyond2 += np.int32(byte >= 3)
        beyond4 += np.int32(byte >= 15)
        beyond8 += np.int32(byte >= 255)
    return some, beyond2, beyond4, beyond8


@_jit
def _pack2(codes, out):  # type: ignore[no-untyped-def]
    most, two, four, six = np.uint8(3), np.uint8(2), np.uint8(4), np.uint8(6)
    for i in range(out.size):
        low = min(codes[4 * i], most) | (min(codes[4 * i + 1], most) << two)
        out[i] = low | (min(codes[4 * i + 2], most) << four) | (min(codes[4 * i + 3], most) << six)


@_jit
def _pack4(codes, out):  # type: ignore[no-untyped-def]
    most, four = np.uint8(15), np.uint8(4)
    for i in range(out.size):
        out[i] = min(codes[2 * i], most) | (min(codes[2 * i + 1], most) << four)


@_jit
def _unpack2(packed, out):  # type: ignore[no-untyped-def]
    most, two, four, six = np.uint8(3), np.uint8(2), np.uint8(4), np.uint8(6)
    for i in range(packed.size):
        out[4 * i] = packed[i] & most
        out[4 * i + 1] = (packed[i] >> two) & most
        out[4 * i + 2] = (packed[i] >> four) & most
        out[4 * i + 3] = packed[i] >> six


@_jit
def _unpack4(packed, out):  # type: ignore[no-untyped-def]
    most, four = np.uint8(15), np.uint8(4)
    for i in range(packed.size):
        out[2 * i] = packed[i] & most
        out[2 * i + 1] = packed[i] >> four


@_jit
def _places(signed, least, out):  # type: ignore[no-untyped-def]
    at, full = 0, signed.size - signed.size % LANES
    for start in range(0, full, LANES):
        word = word_at_least(signed, start, least, np.int8(-1))
        while word != 0:
            out[at] = start + lowest_bit(word)
            at += 1
            word &= word - np.uint64(1)
    for i in range(full, signed.size):
        if signed[i] >= least:
            out[at] = i
            at += 1


@_jit
def _beyond(symbols, signed, least, escape, out):  # type: ignore[no-untyped-def]
    at, full = 0, symbols.size - symbols.size % LANES
    for start in range(0, full, LANES):
        word = word_at_least(signed, start, least, np.int8(-1))
        while word != 0:
            out[at] = symbols[start + lowest_bit(word)]
            at += 1
            word &= word - np.uint64(1)
    for i in range(full, symbols.size):
        if signed[i] >= least:
            out[at] = symbols[i]
            at += 1
    for i in range(out.size):
        code = np.uint32((out[i] << np.int32(1)) ^ (out[i] >> np.int32(31))) - escape
        out[i] = np.int32((code >> np.uint32(1)) ^ (np.uint32(0) - (code & np.uint32(1))))


@_jit
def _joined(codes, signed, escape, escaped, out):  # type: ignore[no-untyped-def]
    for i in range(codes.size):
        code = np.int32(codes[i])
        out[i] = (code >> np.int32(1)) ^ -(code & np.int32(1))
    at, full = 0, codes.size - codes.size % LANES
    for start in range(0, full, LANES):
        word = word_at_least(signed, start, escape, np.int8(-1))
        while word != 0:
            out[start + lowest_bit(word)] = escaped[at]
            at += 1
            word &= word - np.uint64(1)
    for i in range(full, codes.size):
        if signed[i] == escape:
            out[i] = escaped[at]
            at += 1
