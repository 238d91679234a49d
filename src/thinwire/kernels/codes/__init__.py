"""Symbols as codes of few bits and back: the parts that chunks are made of. Compiled where there are many.

A code of the largest value of its width escapes: it stands for all codes from it up, which are kept apart.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.codes import reference
from thinwire.kernels.codes.reference import Bytes, Codes, Symbols, unzigzag, zigzag

__all__ = ["Bytes", "Codes", "Symbols", "beyond", "cut", "joined", "pack", "places", "unpack", "unzigzag", "zigzag"]

_WORTH_COMPILING = 1 << 12


def cut(symbols: Symbols) -> tuple[Bytes, list[int]]:
    """Return zigzag codes cut at 255, and how many are at least 1, 3, 15 and 255: what widths of 2, 4, 8 bits lack."""
    codes, reached = _kernel(symbols.size).cut(np.ascontiguousarray(symbols, np.int32))
    return codes, reached


def pack(codes: Bytes, bits: int) -> Bytes:
    """Return codes, cut at the largest of 2, 4 or 8 bits, packed to so many each, low bits first."""
    packed: Bytes = _kernel(codes.size).pack(codes, bits)
    return packed


def unpack(packed: Bytes, bits: int, count: int) -> Bytes:
    """Return ``count`` codes of one byte each, of 2, 4 or 8 bits."""
    codes: Bytes = _kernel(count).unpack(packed, bits, count)
    return codes


def places(codes: Bytes, count: int) -> NDArray[np.int64]:
    """Return where the ``count`` codes are that are not 0."""
    found: NDArray[np.int64] = _kernel(codes.size).places(codes, count)
    return found


def beyond(symbols: Symbols, codes: Bytes, escape: int, count: int) -> Symbols:
    """Return the ``count`` symbols whose codes are at least ``escape``, as symbols whose codes are less by it."""
    escaped: Symbols = _kernel(codes.size).beyond(np.ascontiguousarray(symbols, np.int32), codes, escape, count)
    return escaped


def joined(codes: Bytes, escape: int, escaped: Symbols) -> Symbols:
    """Return the symbols of codes up to ``escape``, where those that are it stand for the given ones: one for each."""
    symbols: Symbols = _kernel(codes.size).joined(codes, escape, escaped)
    return symbols


def _kernel(count: int) -> ModuleType:
    if count < _WORTH_COMPILING:
        return reference
    from thinwire.kernels.codes import cpu

    return cpu
