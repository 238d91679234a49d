"""The classes of rows and columns that suit symbols best, found in a few rounds."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans import magnitudes, phases
from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.sample import Sample, sample

_MORE_ROUNDS, _MORE_ROUNDS_LARGE = 1, 0
_LARGE = 1 << 20


def fitted(values: NDArray[np.int32], width: int, loops: ModuleType, signed: bool) -> Classes:
    """Return the classes of symbols as rows of a width; ``loops`` has ``tally`` and ``refine``.

    Phases are all 1 unless ``signed``.
    """
    first = magnitudes.start(values, width)
    live = int(np.count_nonzero(first.rows)) * int(np.count_nonzero(first.cols))
    some = sample(values, (len(first.rows), width), live, loops)
    found = magnitudes.refined(some, first)
    return _with_signs(some, found) if signed else found


def _with_signs(some: Sample, now: Classes) -> Classes:
    found = phases.refined(some, phases.start(some, now))
    if not phases.promising(some, found):
        return now
    for _ in range(_MORE_ROUNDS if some.values.size < _LARGE else _MORE_ROUNDS_LARGE):
        found = phases.refined(some, found)
    return found
