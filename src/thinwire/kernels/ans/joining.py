"""Symbols that come in pieces, put together: those to code in two bytes each as long as all fit.

That halves their memory. There is room for four bytes each from the start: an operating system lends memory when it is
first written to, so that room which is not used takes none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from thinwire.kernels.ans.alphabet import Symbols, Values

_FITS = np.iinfo(np.int16)
_PIECE = 1 << 16


def narrowed(pieces: Iterable[Values], count: int) -> Symbols:
    """Return ``count`` symbols (1-D) from their pieces: int16 where all fit, else int32."""
    wide, at = np.empty(count, np.int32), 0
    narrow = wide.view(np.int16)[:count]
    held: Symbols = narrow
    for piece in pieces:
        if held is narrow and not _fits(piece):
            _widen(narrow[:at], wide)
            held = wide
        held[at : at + piece.size] = piece
        at += piece.size
    return held


def joined(pieces: Iterable[Values], count: int) -> Values:
    """Return ``count`` symbols (1-D) from their pieces, as int32."""
    out, at = np.empty(count, np.int32), 0
    for piece in pieces:
        out[at : at + piece.size] = piece
        at += piece.size
    return out


def _fits(piece: Values) -> bool:
    return bool(piece.min(initial=0) >= _FITS.min and piece.max(initial=0) <= _FITS.max)


def _widen(narrow: Symbols, wide: Values) -> None:
    """Fill the start of ``wide`` from ``narrow``, whose memory it shares: from the end, so that nothing is lost."""
    for first in reversed(range(0, narrow.size, _PIECE)):
        end = min(first + _PIECE, narrow.size)
        # The first block overlaps what it becomes.
        wide[first:end] = narrow[first:end].astype(np.int32)
