"""The two loops of rANS on plain arrays, compiled. They check no bounds, so each says what keeps it inside.

Integers are unsigned where they can be: numba then leaves out its test for negative indices.
"""

from __future__ import annotations

import numpy as np

from thinwire.kernels.ans.alphabet import LOOKUP
from thinwire.kernels.ans.contexts import DEAD, KEYS, SIGN_BIT
from thinwire.kernels.ans.lookups import DIVIDE, LATER
from thinwire.kernels.ans.reference import LOWEST, WORD
from thinwire.kernels.ans.tables import BITS, TOTAL
from thinwire.kernels.ans.tokens import token_above
from thinwire.kernels.jit import njit

# Frequencies are at least 1, so that no division needs a test for zero.
_jit = njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
_U = np.uint64
_ONE, _WORD, _BITS, _LOWEST, _SIGN, _ROOM = _U(1), _U(WORD), _U(BITS), _U(LOWEST), _U(SIGN_BIT), _U(2 * WORD - BITS)
_SLOT, _KEY, _SIGNED, _LOW, _LOW_HALF = _U(TOTAL - 1), _U(KEYS - 1), _U(2 * KEYS - 1), _U(LOWEST - 1), _U(2**32 - 1)
_DEAD, _LOOKUP, _DIVIDE, _TOTAL, _HALF = _U(DEAD), _U(LOOKUP), _U(DIVIDE), _U(TOTAL), _U(32)
_MOST = 2**31 - 1


@_jit
def encode(values, coded, quick, tables, states, words):  # type: ignore[no-untyped-def]
    """Fill ``words`` from its end and return where they start; ``states`` become those to decode from.

    ``words`` has room for one word a token, one for each started 16 raw bits, and one more. Every token has a
    frequency.
    """
    rows, cols, places, last, width, count = coded
    place_of, entries, reach = quick
    turn, lanes = _U(count), _U(states.size - 1)
    at, ends = _U(words.size), _U(2 * reach)
    for row in range(rows.size - 1, -1, -1):
        row_key = _U(rows[row])
        if row_key == _DEAD:
            continue
        for i in range((last if row == rows.size - 1 else places.size) - 1, -1, -1):
            key = row_key + _U(cols[_U(i)]) & _SIGNED
            value = np.int64(values[_U(row * width + places[_U(i)])])
            turn -= _ONE
            x = states[turn & lanes]
            if _U(value + reach) <= ends:
                entry = _U(np.int64(place_of[key]) + value + value)
                reciprocal, held = entries[entry], entries[entry + _ONE]
                frequency, start = held & _LOW_HALF, held >> _HALF
            else:
                x, at, frequency, start = _rare(value, key, tables, x, words, at)
                reciprocal = ((_ONE << _DIVIDE) + frequency - _ONE) // frequency
            # No branch: which states put a word out is a coin toss. What is not needed is overwritten.
            words[at - _ONE] = np.uint16(x & _LOW)
            need = x >= frequency << _ROOM
            x = x >> _WORD if need else x
            at -= _U(need)
            x += (x * reciprocal >> _DIVIDE) * (_TOTAL - frequency) + start
            states[turn & lanes] = x
    return at


@_jit
def _rare(value, key, tables, x, words, at):  # type: ignore[no-untyped-def]
    """Put out a value's raw bits; return the state, where words start, and its token's frequency and start."""
    table_of, starts, base, tokens, extra = tables
    flipped = -value if key >> _SIGN else value
    magnitude = _U(abs(value))
    token = _U(tokens[magnitude]) if magnitude < _LOOKUP else token_above(magnitude, _U(base.size))
    raw = magnitude - _U(base[token])
    signed = token + token - _U(flipped < 0)
    more = _U(extra[signed])
    # The last piece first: decoding walks the other way.
    while more > 0:
        piece = more - _WORD if more > _WORD else more
        if x >= _ONE << (_WORD + _WORD - piece):
            at -= _ONE
            words[at] = np.uint16(x & _LOW)
            x >>= _WORD
        more -= piece
        x = (x << piece) + (raw >> more)
        raw &= (_ONE << more) - _ONE
    place = _U(table_of[key & _KEY]) * _U(extra.size + 1) + signed
    start = _U(starts[place])
    return x, at, _U(starts[place + _ONE]) - start, start


@_jit
def decode(words, coded, quick, tables, states, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` and return how many words were read and if a value overflowed; ``states`` become the last ones.

    ``words`` ends in a zero that is none of them. A slot is below ``1 << BITS``, where the starts of a table end, so
    that no search leaves its table; a state is never 0, so that one word always lifts it to ``2**16``.
    """
    rows, cols, places, last, width, _ = coded
    guide_of, guide, bits, entries = quick
    turn, lanes = _U(0), _U(states.size - 1)
    at, end = _U(0), _U(words.size - 1)
    narrow, stride = _U(BITS - bits), _U(tables[0].size)
    overflow = False
    for row in range(rows.size):
        row_key = _U(rows[row])
        if row_key == _DEAD:
            continue
        for i in range(last if row == rows.size - 1 else places.size):
            table = np.int64(guide_of[row_key + _U(cols[_U(i)]) & _SIGNED])
            x = states[turn & lanes]
            slot = x & _SLOT
            place = _U(guide[_U(table & _MOST) + (slot >> narrow)])
            entry = entries[place]
            while slot - (entry & _LOW) >= entry >> _WORD & _LOW:
                place += _ONE
                entry = entries[place]
            x = (entry >> _WORD & _LOW) * (x >> _BITS) + slot - (entry & _LOW)
            # No branch: which states take a word in is a coin toss. Behind the end there is a zero to take.
            need = x < _LOWEST
            word = _U(words[min(at, end)])
            x = x << _WORD | word if need else x
            at += _U(need)
            value, flip = np.int64(entry) >> 32, table >> 31
            if value == LATER:
                value, x, at = _raw(place % stride, tables, x, words, at)
                overflow |= not -_MOST - 1 <= (value ^ flip) - flip <= _MOST
            out[_U(row * width + places[_U(i)])] = np.int32((value ^ flip) - flip)
            states[turn & lanes] = x
            turn += _ONE
    return at, overflow


@_jit
def _raw(token, tables, x, words, at):  # type: ignore[no-untyped-def]
    """Take in the raw bits of a token; return its value, the state, and how many words were read."""
    base, extra = tables
    more, raw, shift, end = _U(extra[token]), _U(0), _U(0), _U(words.size - 1)
    while more > 0:
        piece = min(more, _WORD)
        raw |= (x & ((_ONE << piece) - _ONE)) << shift
        x >>= piece
        if x < _LOWEST:
            x = x << _WORD | _U(words[min(at, end)])
            at += _ONE
        shift += piece
        more -= piece
    value = base[token]
    return value + (np.int64(raw) if value > 0 else -np.int64(raw)), x, at
