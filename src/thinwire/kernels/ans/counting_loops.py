"""The two loops that models are fitted with on plain arrays, compiled. They check no bounds."""

from __future__ import annotations

import numba
import numpy as np

from thinwire.kernels.ans.alphabet import LOOKUP
from thinwire.kernels.ans.contexts import CLASSES, DEAD, KEYS, PHASE_SHIFT, SIGN_BIT
from thinwire.kernels.ans.counting import FEW, SUMS
from thinwire.kernels.ans.tables import BINS

_jit = numba.njit(cache=True, nogil=True, boundscheck=False)
_U = np.uint64
_ONE, _SIGN, _SHIFT, _BINS = _U(1), _U(SIGN_BIT), _U(PHASE_SHIFT), _U(BINS)
_KEY, _SUM, _DEAD, _LOOKUP = _U(KEYS - 1), _U(SUMS - 1), _U(DEAD), _U(LOOKUP)
_CLASSES, _LAST = CLASSES, _U(FEW - 1)


@_jit
def tally(values, coded, base, tokens, shifts, down, magnitudes, signs, joint):  # type: ignore[no-untyped-def]
    """Add counts of every ``down``-th row to ``magnitudes``, ``signs`` and ``joint``."""
    rows, cols, places, last, width = coded
    for row in range(0, rows.size, down):
        row_key = _U(rows[row])
        if row_key == _DEAD:
            continue
        for i in range(last if row == rows.size - 1 else places.size):
            key = row_key + _U(cols[_U(i)])
            value = np.int64(values[_U(row * width + places[_U(i)])])
            magnitude = _U(abs(value))
            if magnitude < _LOOKUP:
                token = _U(tokens[magnitude])
            else:
                token = _U(base.size - 1)
                while _U(base[token]) > magnitude:
                    token -= _ONE
            phases = (key & _KEY) >> _SHIFT
            classes = (key & _SUM) + _U(shifts[phases])
            magnitudes[classes, token] += 1
            joint[phases, classes, min(token, _LAST)] += 1
            if value != 0:
                agree = _U(value > 0) ^ (key >> _SIGN & _ONE)
                signs[phases, min(token, _BINS) - _ONE, agree] += 1


@_jit
def refine(values, count, costs, top, own, other, free, offset, across, down, out):  # type: ignore[no-untyped-def]
    """Put the cheapest classes into ``own`` and add each class's cost of the columns to ``out``.

    Row ``state * CLASSES + other`` of ``costs`` is what each class costs.
    """
    spent = np.empty(_CLASSES, np.int32)
    # What is not zero is gathered first, without branches: most symbols of most updates are zero.
    places, states = np.empty(other.size + 1, np.int64), np.empty(other.size + 1, np.int64)
    for row in range(own.size):
        first = row * other.size
        columns = min(other.size, count - first)
        if free[row]:
            found = _gather(values, first, columns, across, top, places, states)
            for k in range(_CLASSES):
                spent[k] = offset[k]
            for i in range(found):
                at = states[_U(i)] + np.int64(other[_U(places[_U(i)])])
                for k in range(_CLASSES):
                    spent[k] += costs[_U(at), k]
            best = 0
            for k in range(1, _CLASSES):
                best = k if spent[k] < spent[best] else best
            own[row] = best
        if row % down == 0:
            found = _gather(values, first, columns, 1, top, places, states)
            mine = np.int64(own[row])
            for i in range(found):
                at, place = states[_U(i)] + mine, places[_U(i)]
                for k in range(_CLASSES):
                    out[_U(place), k] += costs[_U(at), k]


@_jit
def _gather(values, first, columns, step, top, places, states):  # type: ignore[no-untyped-def]
    """Collect the columns of what is not zero, and its row of costs; both have room for one more than all columns."""
    found = 0
    for i in range(0, columns, step):
        value = np.int64(values[_U(first + i)])
        places[_U(found)] = i
        states[_U(found)] = (min(max(value, -top), top) + top) * _CLASSES
        found += value != 0
    return found
