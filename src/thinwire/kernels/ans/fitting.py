"""The classes of rows and columns that suit symbols best, found in a few rounds."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from thinwire.kernels.ans import magnitudes, phases
from thinwire.kernels.ans.alphabet import Symbols
from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.counting import Survey
from thinwire.kernels.ans.sample import LARGE, Sample, sample
from thinwire.kernels.ans.tables import Ints

_MORE_ROUNDS, _MORE_ROUNDS_LARGE = 1, 0
_LARGE = 1 << 20
_ALIKE = 0.98


def fitted(values: Symbols, seen: Survey, loops: ModuleType, signed: bool) -> Classes:
    """Return the classes of the rows and columns of a survey; ``loops`` has ``tally`` and ``refine``.

    Phases are all 1 unless ``signed``.
    """
    some = sample(values, seen, loops)
    found = magnitudes.start(seen)
    if values.size < LARGE or _differ(found.rows) or _differ(found.cols):
        found = magnitudes.refined(some, found)
    return _with_signs(some, found) if signed else found


def _with_signs(some: Sample, now: Classes) -> Classes:
    found = phases.start(some, now)
    if some.values.size >= LARGE and not phases.promising(some, found, phases.HOPELESS):
        return now
    found = phases.refined(some, found)
    if not phases.promising(some, found):
        return now
    for _ in range(_MORE_ROUNDS if some.values.size < _LARGE else _MORE_ROUNDS_LARGE):
        found = phases.refined(some, found)
    return found


def _differ(classes: Ints) -> bool:
    """Return if more than a few classes are not the most common one."""
    counts = np.bincount(classes[classes > 0])
    return bool(counts.max() < _ALIKE * counts.sum())
