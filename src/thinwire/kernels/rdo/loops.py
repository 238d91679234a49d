"""The loop that chooses symbols, compiled. Integers are unsigned where they can be: no test for negative indices."""

from __future__ import annotations

import numpy as np

from thinwire.kernels.ans.contexts import DEAD, KEYS, SIGN_BIT
from thinwire.kernels.jit import njit
from thinwire.kernels.rdo.cuts import MOST

_jit = njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
_U = np.uint64
_DEAD, _KEY, _SIGN, _ONE, _MOST, _STRIDE = _U(DEAD), _U(KEYS - 1), _U(SIGN_BIT), _U(1), _U(MOST), _U(MOST + 1)


@_jit
def envelopes(heights, cuts):  # type: ignore[no-untyped-def]
    """Fill ``cuts`` (lines, MOST + 1): where each parabola of ``heights`` becomes the lowest, infinity where never."""
    hull = np.empty(heights.shape[1], np.int64)
    for line in range(heights.shape[0]):
        height, cut = heights[line], cuts[line]
        cut[0], hull[0], top = -np.inf, 0, 0
        for m in range(1, height.size):
            at = (height[m] - height[hull[top]]) / (2.0 * (m - hull[top]))
            while at <= cut[hull[top]]:
                cut[hull[top]] = np.inf
                top -= 1
                at = (height[m] - height[hull[top]]) / (2.0 * (m - hull[top]))
            cut[m] = at
            top += 1
            hull[top] = m


@_jit
def choose(values, rows, cols, table_of, cuts, inverse_step, symbols, sums):  # type: ignore[no-untyped-def]
    """Fill ``symbols``, and ``sums`` as ``points.Sums`` has them. ``inverse_step`` is of the dtype of ``values``."""
    cut, zeros = cuts.reshape(-1), 0.0
    half = values.dtype.type(0.5)
    for row in range(rows.size):
        row_key = _U(rows[row])
        first = row * cols.size
        for i in range(min(values.size - first, cols.size)):
            value = values[first + i] * inverse_step
            a = abs(value)
            q = _U(a + half)
            if q > 0:
                col_key = _U(cols[i])
                if row_key == _DEAD or col_key == _DEAD:
                    q = _U(0)
                elif q <= _MOST:
                    key = row_key + col_key
                    minus = (key >> _SIGN & _ONE) ^ _U(value < 0)
                    at = (_U(table_of[key & _KEY]) * _U(2) + minus) * _STRIDE
                    while a < cut[at + q]:
                        q -= _ONE
            excess = np.float64(a) - np.float64(q)
            if q == 0:
                symbols[first + i] = 0
                zeros += excess * excess
            else:
                symbols[first + i] = np.int32(-np.int64(q)) if value < 0 else np.int32(q)
                kind = _U(3) * min(q, _U(3))
                sums[kind] += 1.0
                sums[kind + _ONE] += excess
                sums[kind + _U(2)] += excess * excess
    sums[2] = zeros


@_jit
def decode(symbols, table, offset, unit, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` from the ``table`` of small symbols, and with the same arithmetic where it ends."""
    half = np.int64(table.size // 2)
    for i in range(symbols.size):
        symbol = np.int64(symbols[i])
        if -half <= symbol <= half:
            out[i] = table[_U(symbol + half)]
        else:
            whole = (symbol << 8) + (offset if symbol > 0 else -offset)
            out[i] = np.float64(whole) * unit
