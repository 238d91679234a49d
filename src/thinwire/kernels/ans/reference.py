"""Interleaved rANS in plain Python: what every faster loop must equal, byte for byte.

A state is an integer from ``2**16`` to below ``2**32``. To decode, its low 14 bits are a slot, whose token is known;
``state = frequency * (state >> 14) + slot - start`` undoes what the encoder did, and a state below ``2**16`` takes in
the next 16-bit word. The encoder walks backwards from states of ``2**16``, where every decoder must therefore end.
Four states take turns where that is worth their bytes. Duda 2013 (arXiv:1311.2540); streaming as in F. Giesen's rANS.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans.alphabet import Symbols, Values
from thinwire.kernels.ans.contexts import DEAD, KEYS, SIGN_BIT, Coder, Grid
from thinwire.kernels.ans.tables import BITS, TOTAL

LOWEST = 1 << 16
WORD = 16
_MOST = 2**31 - 1

Words = NDArray[np.uint16]
States = NDArray[np.uint64]


def encode(values: Symbols, grid: Grid, coder: Coder, lanes: int) -> tuple[States, Words]:
    """Return the states to start decoding from and the words, in the order of decoding."""
    coded = [_steps(int(values[place]), key, coder) for place, key in _order(grid)]
    states, words = [LOWEST] * lanes, []
    for turn in reversed(range(len(coded))):
        for start, frequency, bits in reversed(coded[turn]):
            state = states[turn % lanes]
            if state >= frequency << 2 * WORD - bits:
                words.append(state & LOWEST - 1)
                state >>= WORD
            states[turn % lanes] = (state // frequency << bits) + state % frequency + start
    return np.array(states, np.uint64), np.array(words[::-1], np.uint16)


def decode(states: States, words: Words, grid: Grid, coder: Coder) -> tuple[Values, States, int, bool]:
    """Return the values, the states at the end, how many words were read (0 behind the end), and if a value overflowed.

    States are ``2**16`` or more.
    """
    out = [0] * grid.count
    lanes, used, overflow = [int(state) for state in states], 0, False
    held, table_of, base = words.tolist(), coder.table_of.tolist(), coder.base.tolist()
    pieces = [_pieces(extra) for extra in coder.extra.tolist()]
    tables: dict[int, list[int]] = {}

    def take(turn: int, start: int, frequency: int, bits: int) -> None:
        nonlocal used
        lane = turn % len(lanes)
        state = frequency * (lanes[lane] >> bits) + (lanes[lane] & (1 << bits) - 1) - start
        if state < LOWEST:
            state = state << WORD | (held[used] if used < len(held) else 0)
            used += 1
        lanes[lane] = state

    for turn, (place, key) in enumerate(_order(grid)):
        table = table_of[key & KEYS - 1]
        if table not in tables:
            tables[table] = coder.starts[table].tolist()
        starts = tables[table]
        token = bisect_right(starts, lanes[turn % len(lanes)] & TOTAL - 1, 1) - 1
        take(turn, starts[token], starts[token + 1] - starts[token], BITS)
        value = base[token]
        for shift, width in pieces[token]:
            raw = (lanes[turn % len(lanes)] & (1 << width) - 1) << shift
            take(turn, raw >> shift, 1, width)
            value += raw if value > 0 else -raw
        value = -value if key >> SIGN_BIT & 1 else value
        overflow |= not -_MOST - 1 <= value <= _MOST
        out[place] = (value + _MOST + 1) % (1 << 32) - _MOST - 1
    return np.array(out, np.int32), np.array(lanes, np.uint64), used, overflow


def _order(grid: Grid) -> Iterator[tuple[int, int]]:
    """Yield the place and the summed key of every element that is coded."""
    for row, row_key in enumerate(grid.rows.tolist()):
        for column in grid.places.tolist() if row_key != DEAD else ():
            if row * grid.width + column < grid.count:
                yield row * grid.width + column, row_key + int(grid.cols[column])


def _steps(value: int, key: int, coder: Coder) -> list[tuple[int, int, int]]:
    """Return the start, frequency and bits of a value's token, then of the pieces of its raw bits."""
    value = -value if key >> SIGN_BIT & 1 else value
    magnitude = int(np.searchsorted(coder.alphabet.base, abs(value), side="right")) - 1
    token = 2 * magnitude - (value < 0) if magnitude else 0
    starts = coder.starts[int(coder.table_of[key & KEYS - 1])]
    raw = abs(value) - int(coder.alphabet.base[magnitude])
    pieces = [(raw >> shift & (1 << width) - 1, 1, width) for shift, width in _pieces(int(coder.extra[token]))]
    return [(int(starts[token]), int(starts[token + 1]) - int(starts[token]), BITS), *pieces]


def _pieces(extra: int) -> list[tuple[int, int]]:
    """Return the shift and the width of the pieces of raw bits: up to 16 low ones, then the rest."""
    return [(shift, min(WORD, extra - shift)) for shift in range(0, extra, WORD)]
