"""The loops that models are fitted with on plain arrays, compiled. They check no bounds."""

from __future__ import annotations

import numpy as np

from thinwire.kernels.ans.alphabet import LOOKUP
from thinwire.kernels.ans.contexts import CLASSES, DEAD, KEYS, PHASE_SHIFT, SIGN_BIT
from thinwire.kernels.ans.counting import CLIP, FEW, SUMS
from thinwire.kernels.ans.tables import BINS
from thinwire.kernels.ans.tokens import token_above
from thinwire.kernels.jit import njit

_jit = njit(cache=True, nogil=True, boundscheck=False)
_U = np.uint64
_ONE, _SIGN, _SHIFT, _BINS = _U(1), _U(SIGN_BIT), _U(PHASE_SHIFT), _U(BINS)
_KEY, _SUM, _DEAD, _LOOKUP = _U(KEYS - 1), _U(SUMS - 1), _U(DEAD), _U(LOOKUP)
_CLASSES, _CLIP, _LAST = CLASSES, np.int64(CLIP), _U(FEW - 1)


@_jit
def survey(values, width, rows, cols):  # type: ignore[no-untyped-def]
    """Add to ``rows`` and ``cols`` what ``counting.survey`` says, and return the extremes and how many are not zero."""
    low, high, found = values[0], values[0], 0
    for row in range(rows.size):
        first, total = row * width, np.int64(0)
        for i in range(min(width, values.size - first)):
            value = values[first + i]
            low, high = min(low, value), max(high, value)
            magnitude = min(np.int64(abs(np.int64(value))), _CLIP)
            found += value != 0
            total += magnitude
            cols[i] += magnitude
        rows[row] = total
    return low, high, found


@_jit
def peaks(values, kinds, width, first, extremes):  # type: ignore[no-untyped-def]
    """Equal ``counting.peaks``."""
    for row in range(kinds.size):
        low, high = extremes[kinds[row], 0], extremes[kinds[row], 1]
        at = row * width + first
        for i in range(min(low.size, width - first, values.size - at)):
            low[i] = min(low[i], values[at + i])
            high[i] = max(high[i], values[at + i])


@_jit
def tally(values, coded, tokens, shifts, picked, magnitudes, signs, joint):  # type: ignore[no-untyped-def]
    """Add counts of the ``picked`` rows to ``magnitudes``, ``signs`` and ``joint``."""
    rows, cols, places, last, width, _ = coded
    size = _U(magnitudes.shape[1])
    for row in picked:
        row_key = _U(rows[row])
        if row_key == _DEAD:
            continue
        for i in range(last if row == rows.size - 1 else places.size):
            key = row_key + _U(cols[_U(i)])
            value = np.int64(values[_U(row * width + places[_U(i)])])
            magnitude = _U(abs(value))
            token = _U(tokens[magnitude]) if magnitude < _LOOKUP else token_above(magnitude, size)
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
    places = np.empty(other.size + 1, np.int32)
    for row in range(own.size):
        first = row * other.size
        columns = min(other.size, count - first)
        if free[row]:
            found = _gather(values, first, columns, across, places)
            for k in range(_CLASSES):
                spent[k] = offset[k]
            for i in range(found):
                place = _U(places[_U(i)])
                at = _state(values[_U(first) + place], top) + np.int64(other[place])
                for k in range(_CLASSES):
                    spent[k] += costs[_U(at), k]
            best = 0
            for k in range(1, _CLASSES):
                best = k if spent[k] < spent[best] else best
            own[row] = best
        if row % down == 0:
            found = _gather(values, first, columns, 1, places)
            mine = np.int64(own[row])
            for i in range(found):
                place = _U(places[_U(i)])
                at = _state(values[_U(first) + place], top) + mine
                for k in range(_CLASSES):
                    out[place, k] += costs[_U(at), k]


@_jit
def _state(value, top):  # type: ignore[no-untyped-def]
    """Return the first row of costs of a symbol."""
    return (min(max(np.int64(value), -top), top) + top) * _CLASSES


@_jit
def _gather(values, first, columns, step, places):  # type: ignore[no-untyped-def]
    """Collect the columns of what is not zero; there is room for one more than all columns."""
    found = 0
    for i in range(0, columns, step):
        places[_U(found)] = i
        found += values[_U(first + i)] != 0
    return found
