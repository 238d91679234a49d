"""Codes of symbols in numpy: slow, obvious, and the truth that the compiled loops must equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int32]
Codes = NDArray[np.uint32]
Bytes = NDArray[np.uint8]

LEAST = (1, 3, 15, 255)


def zigzag(symbols: NDArray[np.int8] | Symbols) -> Codes:
    """Return uint32 codes: 0, -1, 1, -2 become 0, 1, 2, 3."""
    v = symbols.astype(np.int32, copy=False)
    return ((v << 1) ^ (v >> 31)).view(np.uint32)


def unzigzag(codes: Codes) -> Symbols:
    """Invert ``zigzag``."""
    return ((codes >> np.uint32(1)) ^ (np.uint32(0) - (codes & np.uint32(1)))).view(np.int32)


def cut(symbols: Symbols) -> tuple[Bytes, list[int]]:
    """Return zigzag codes cut at 255, and how many are at least 1, 3, 15 and 255: what widths of 2, 4, 8 bits lack."""
    codes = np.minimum(zigzag(symbols), 255).astype(np.uint8)
    return codes, [int(np.count_nonzero(codes >= least)) for least in LEAST]


def pack(codes: Bytes, bits: int) -> Bytes:
    """Return codes, cut at the largest of 2, 4 or 8 bits, packed to so many each, low bits first."""
    together = 8 // bits
    whole = np.zeros(-(-codes.size // together) * together, np.uint8)
    whole[: codes.size] = np.minimum(codes, 2**bits - 1)
    weights = (1 << bits * np.arange(together)).astype(np.uint8)
    packed: Bytes = (whole.reshape(-1, together) * weights).sum(1, dtype=np.uint8)
    return packed


def unpack(packed: Bytes, bits: int, count: int) -> Bytes:
    """Return ``count`` codes of one byte each."""
    places = (bits * np.arange(8 // bits)).astype(np.uint8)
    codes: Bytes = ((packed[:, None] >> places) & np.uint8(2**bits - 1)).reshape(-1)
    return codes[:count]


def places(codes: Bytes, count: int) -> NDArray[np.int64]:
    """Return where the ``count`` codes are that are not 0."""
    return np.flatnonzero(codes)


def beyond(symbols: Symbols, codes: Bytes, escape: int, count: int) -> Symbols:
    """Return the ``count`` symbols whose codes are at least ``escape``, as symbols whose codes are less by it."""
    return unzigzag(zigzag(symbols[codes >= escape]) - np.uint32(escape))


def joined(codes: Bytes, escape: int, escaped: Symbols) -> Symbols:
    """Return the symbols of codes, where those that are ``escape`` stand for the given ones, in order."""
    out = unzigzag(codes.astype(np.uint32))
    out[codes == escape] = escaped
    return out
