"""What the compiled loops look up: numbers of every small symbol to encode, of every token to decode.

A division by a frequency f is a product with ``ceil(2**46 / f)``: a state below ``f << 18`` has the right quotient, and
the product stays below ``2**64``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans.alphabet import Alphabet
from thinwire.kernels.ans.tables import BITS, guide

DIVIDE = 46
"""Quotients are products with an entry's reciprocal, shifted by so much."""
LATER = FLIP = -(2**31)
"""The value of a token that has raw bits, and the bit of a flipped sign."""
_MOST = 1 << 15
_VALUE, _FREQUENCY = 32, 16
_GUIDE_BITS, _GUIDE_LEAST = 13, 5


@dataclass(frozen=True, eq=False)
class Encoding:
    """``entries[place_of[key] + 2 * symbol]``, and one further, for symbols of ``-reach .. reach``.

    The first is the reciprocal of the frequency, the second the frequency (low 32 bits) and the start. Keys are sums of
    two keys with their sign.
    """

    place_of: NDArray[np.uint32]
    entries: NDArray[np.uint64]
    reach: int


def encoding(alphabet: Alphabet, starts: NDArray[np.uint16], table_of: NDArray[np.uint16]) -> Encoding:
    """Return the lookups of tables (tables, tokens + 1); few symbols have entries where tables are many."""
    held = (starts.shape[1] - 2) // 2
    reach = max(0, min(held, (1 << alphabet.direct) - 1, (_MOST // (2 * len(starts)) - 1) // 2))
    symbols = np.arange(-reach, reach + 1)
    tokens = np.stack([2 * np.abs(x) - (x < 0) for x in (symbols, -symbols)])
    wide = starts.astype(np.int64)
    frequencies = np.maximum(np.diff(wide, axis=1)[:, tokens], 1)
    reciprocals = ((1 << DIVIDE) + frequencies - 1) // frequencies
    entries = np.stack([reciprocals, frequencies | wide[:, tokens] << 32], -1).astype(np.uint64)
    tables = np.concatenate([2 * table_of.astype(np.int64), 2 * table_of.astype(np.int64) + 1])
    return Encoding((2 * (tables * symbols.size + reach)).astype(np.uint32), entries.reshape(-1), reach)


@dataclass(frozen=True, eq=False)
class Decoding:
    """``guide[guide_of[key] + (slot >> BITS - bits)]`` is where to begin searching the entry of a slot.

    ``guide_of`` (int32, keys with their sign) has its highest bit set where the sign flips. An entry for every token of
    every table: value (high 32 bits, LATER where raw bits follow), frequency (next 16), and start (low 16).
    """

    guide_of: NDArray[np.int32]
    guide: NDArray[np.uint32]
    bits: int
    entries: NDArray[np.uint64]


def decoding(values: NDArray[np.int64], starts: NDArray[np.uint16], table_of: NDArray[np.uint16]) -> Decoding:
    """Return the lookups of tables (tables, tokens + 1) of tokens with these values."""
    count, tokens = len(starts), starts.shape[1] - 1
    # Fewer bits where many tables share the cache.
    bits = max(_GUIDE_LEAST, min(BITS - 2, _GUIDE_BITS - count.bit_length()))
    first = guide(starts, bits).astype(np.uint32) + (np.arange(count, dtype=np.uint32) * np.uint32(tokens))[:, None]
    at = table_of.astype(np.int32) << bits
    wide = starts.astype(np.int64)
    entries = values << _VALUE | np.diff(wide, axis=1) << _FREQUENCY | wide[:, :-1]
    signed = np.concatenate([at, at | np.int32(FLIP)])
    return Decoding(signed, first.reshape(-1), bits, entries.astype(np.uint64).reshape(-1))
