"""The token of a magnitude that no lookup holds, compiled: for the loops of the coder and for those that count."""

from __future__ import annotations

import numpy as np

from thinwire.kernels.ans.alphabet import PARTS_BITS, TOP
from thinwire.kernels.jit import njit

_U = np.uint64
_ONE, _PARTS_BITS, _PARTS, _OCTAVES, _TOP = _U(1), _U(PARTS_BITS), _U(1 << PARTS_BITS), _U(TOP + 1), _U(TOP)


@njit(inline="always")
def token_above(magnitude, size):  # type: ignore[no-untyped-def]
    """Return the magnitude token of a magnitude without a token of its own, in an alphabet of ``size`` (all uint64).

    It takes numbers and no array: numba would count references to that with every symbol.
    """
    octave = _TOP
    while magnitude >> octave == 0:
        octave -= _ONE
    part = (magnitude >> octave - _PARTS_BITS) & _PARTS - _ONE
    return size - (_OCTAVES - octave) * _PARTS + part
