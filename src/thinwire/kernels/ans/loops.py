"""The two loops of rANS on plain arrays, compiled. They check no bounds, so each says what keeps it inside.

Integers are unsigned where they can be: numba then leaves out its test for negative indices.
"""

from __future__ import annotations

import numba
import numpy as np

from thinwire.kernels.ans.alphabet import LOOKUP
from thinwire.kernels.ans.contexts import DEAD, KEYS, SIGN_BIT
from thinwire.kernels.ans.reference import LOWEST, WORD
from thinwire.kernels.ans.tables import BITS

# Frequencies are at least 1, so that no division needs a test for zero.
_jit = numba.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
_U = np.uint64
_ONE, _WORD, _BITS, _LOWEST, _SIGN = _U(1), _U(WORD), _U(BITS), _U(LOWEST), _U(SIGN_BIT)
_SLOT, _KEY, _LOW = _U((1 << BITS) - 1), _U(KEYS - 1), _U(LOWEST - 1)
_DEAD, _LOOKUP = _U(DEAD), _U(LOOKUP)
_MOST = 2**31 - 1


@_jit
def encode(values, coded, tables, states, words):  # type: ignore[no-untyped-def]
    """Fill ``words`` from its end and return where they start; ``states`` become those to decode from.

    ``words`` has room for one word a token and one for each started 16 raw bits. Every token has a frequency.
    """
    rows, cols, places, last, width = coded
    table_of, starts, base, tokens, extra = tables
    single = states.size == 1
    x0, x1, x2, x3 = states[0], states[1 % states.size], states[2 % states.size], states[3 % states.size]
    stride, at = _U(extra.size + 1), _U(words.size)
    for row in range(rows.size - 1, -1, -1):
        row_key = _U(rows[row])
        if row_key == _DEAD:
            continue
        for i in range((last if row == rows.size - 1 else places.size) - 1, -1, -1):
            key = row_key + _U(cols[_U(i)])
            # No branch: signs are coin tosses.
            flip = -np.int64(key >> _SIGN & _ONE)
            value = (np.int64(values[_U(row * width + places[i])]) ^ flip) - flip
            negative = value >> 63
            magnitude = _U((value ^ negative) - negative)
            if magnitude < _LOOKUP:
                token = _U(tokens[magnitude])
            else:
                token = _U(base.size - 1)
                while _U(base[token]) > magnitude:
                    token -= _ONE
            raw = magnitude - _U(base[token])
            signed = token + token - _U(negative & 1)
            x = x0 if single else x3
            more = _U(extra[signed])
            if more > 0:
                # The last piece first: decoding walks the other way.
                if more > _WORD:
                    if x >= _ONE << (_WORD + _WORD + _WORD - more):
                        at -= _ONE
                        words[at] = np.uint16(x & _LOW)
                        x >>= _WORD
                    x = (x << (more - _WORD)) + (raw >> _WORD)
                    raw &= _LOW
                    more = _WORD
                if x >= _ONE << (_WORD + _WORD - more):
                    at -= _ONE
                    words[at] = np.uint16(x & _LOW)
                    x >>= _WORD
                x = (x << more) + raw
            place = _U(table_of[key & _KEY]) * stride + signed
            start = _U(starts[place])
            frequency = _U(starts[place + _ONE]) - start
            if x >= frequency << (_WORD + _WORD - _BITS):
                at -= _ONE
                words[at] = np.uint16(x & _LOW)
                x >>= _WORD
            quotient = x // frequency
            x = (quotient << _BITS) + (x - quotient * frequency) + start
            if single:
                x0 = x
            else:
                x3, x2, x1, x0 = x2, x1, x0, x
    states[0] = x0
    if not single:
        states[1], states[2], states[3] = x1, x2, x3
    return at


@_jit
def decode(words, coded, tables, states, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` and return how many words were read and if a value overflowed; ``states`` become the last ones.

    ``words`` ends in a zero that is none of them. A slot is below ``1 << BITS``, where the starts of a table end, so
    that no search leaves its table; a state is never 0, so that one word always lifts it to ``2**16``.
    """
    rows, cols, places, last, width = coded
    table_of, starts, guide, bits, base, extra = tables
    single = states.size == 1
    x0, x1, x2, x3 = states[0], states[1 % states.size], states[2 % states.size], states[3 % states.size]
    stride, at, end = _U(extra.size + 1), _U(0), _U(words.size - 1)
    wide, narrow = _U(bits), _U(BITS - bits)
    overflow = False
    for row in range(rows.size):
        row_key = _U(rows[row])
        if row_key == _DEAD:
            continue
        for i in range(last if row == rows.size - 1 else places.size):
            key = row_key + _U(cols[i])
            table = _U(table_of[key & _KEY])
            x = x0
            slot = x & _SLOT
            token = _U(guide[(table << wide) + (slot >> narrow)])
            place = table * stride + token
            while _U(starts[place + _ONE]) <= slot:
                place += _ONE
            start = _U(starts[place])
            token = place - table * stride
            x = (_U(starts[place + _ONE]) - start) * (x >> _BITS) + slot - start
            # No branch: which states take a word in is a coin toss. Behind the end there is a zero to take.
            need = x < _LOWEST
            word = _U(words[min(at, end)])
            x = x << _WORD | word if need else x
            at += _U(need)
            value = base[token]
            more = _U(extra[token])
            if more > 0:
                raw = _U(0)
                shift = _U(0)
                while more > 0:
                    piece = min(more, _WORD)
                    raw |= (x & ((_ONE << piece) - _ONE)) << shift
                    x >>= piece
                    if x < _LOWEST:
                        x = x << _WORD | _U(words[min(at, end)])
                        at += _ONE
                    shift += piece
                    more -= piece
                value += np.int64(raw) if value > 0 else -np.int64(raw)
            flip = -np.int64(key >> _SIGN & _ONE)
            value = (value ^ flip) - flip
            overflow |= (value > _MOST) | (value < -_MOST - 1)
            out[_U(row * width + places[i])] = np.int32(value)
            if single:
                x0 = x
            else:
                x0, x1, x2, x3 = x1, x2, x3, x
    states[0] = x0
    if not single:
        states[1], states[2], states[3] = x1, x2, x3
    return at, overflow
