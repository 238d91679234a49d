"""Runs of consecutive indices, as two lists of their own: where runs are, and where they end among the indices.

A run is one index where every run counts as one place; these ascend, and so do the numbers of the last index of every
run. Whole rows, filters or tensors then cost next to nothing.
"""

from __future__ import annotations

import numpy as np

from thinwire.errors import WireError
from thinwire.kernels.indices import single
from thinwire.kernels.indices.measured import Gaps
from thinwire.kernels.indices.reference import Integers

_HEAD = np.dtype("<u4")
_HEAD_BYTES = 2 * _HEAD.itemsize


def encode(gaps: Gaps) -> bytes | None:
    """Return u32 runs, u32 bytes of the first list, and both lists, each by the coder that is smallest for it.

    None where there are 2**32 runs or more.
    """
    if gaps.runs >> 8 * _HEAD.itemsize:
        return None
    where, ends = (single.smallest(each) for each in _lists(gaps))
    return np.array([gaps.runs, len(where)], _HEAD).tobytes() + where + ends


def least_bytes(gaps: Gaps) -> float:
    """Return less than ``encode`` makes, unless the lists repeat."""
    return sum(each.least_bytes(0) for each in _lists(gaps))


def _lists(gaps: Gaps) -> tuple[Gaps, Gaps]:
    """Return the gaps between the places of the runs, and between the numbers of their last indices."""
    starts = np.flatnonzero(gaps.values[1:] > 0) + 1
    where = np.append(gaps.values[:1], gaps.values[starts])
    return Gaps(where), Gaps(np.diff(starts, prepend=0, append=gaps.size) - 1)


def decode(data: bytes, count: int) -> Integers:
    """Return the indices that ``encode`` was given."""
    if len(data) < _HEAD_BYTES:
        raise WireError("indices: runs are cut short")
    runs, first = (int(number) for number in np.frombuffer(data[:_HEAD_BYTES], _HEAD))
    if not 0 < runs <= count:
        raise WireError(f"indices: {runs} runs of {count} indices")
    where = single.decode(data[_HEAD_BYTES : _HEAD_BYTES + first], runs)
    ends = single.decode(data[_HEAD_BYTES + first :], runs)
    if int(ends[-1]) != count - 1:
        raise WireError(f"indices: runs of {int(ends[-1]) + 1} indices, expected {count}")
    return np.arange(count) + np.repeat(where - np.arange(runs), np.diff(ends, prepend=-1))
