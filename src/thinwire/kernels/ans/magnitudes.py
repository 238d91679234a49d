"""Magnitude classes of rows and columns: half octaves of their means, then whichever costs the fewest bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.contexts import CLASSES
from thinwire.kernels.ans.counting import Costs, Question, Survey
from thinwire.kernels.ans.sample import BIG, UNIT, UNSHIFTED, Sample, naming
from thinwire.kernels.ans.tables import Ints

_TOP = 11
_TOP_CLASS = CLASSES - 1
_PER_OCTAVE = 2


def start(seen: Survey) -> Classes:
    """Return the classes of rows and columns by means of magnitudes; every phase is 1."""
    rows, cols = _by_size(seen.rows), _by_size(seen.cols)
    return Classes(rows, cols, np.ones_like(rows), np.ones_like(cols))


def refined(sample: Sample, now: Classes) -> Classes:
    """Return the classes that cost the fewest bits with the tables that suit those of now."""
    grid = now.grid(sample.values.size)
    counts = sample.loops.tally(sample.values, grid, UNSHIFTED, sample.picked).magnitudes
    bits = _lengths(counts)
    sums = np.minimum(np.arange(CLASSES)[:, None] + np.arange(CLASSES), len(bits) - 1)
    by_state = (bits - bits[:, :1])[:, np.abs(np.arange(-_TOP, _TOP + 1))]
    costs = np.ascontiguousarray(np.moveaxis(by_state[sums], 2, 0))
    zeros = bits[sums, 0]
    row_offset = _of_zeros(zeros, now.cols[:: sample.across]) + naming(now.rows, CLASSES) // sample.across
    col_offset = _of_zeros(zeros, now.rows[:: sample.down]) + naming(now.cols, CLASSES) // sample.down
    row_offset[0] = col_offset[0] = BIG
    ask = Question(costs, now.rows.astype(np.uint8), now.cols.astype(np.uint8), now.rows > 0, row_offset,
                   sample.across, sample.down)  # fmt: skip
    rows, spent = sample.loops.refine(sample.values, sample.values.size, ask)
    # The rows' share of what zeros cost a column moved with them.
    col_offset[1:] += (_of_zeros(zeros, rows[:: sample.down]) - _of_zeros(zeros, now.rows[:: sample.down]))[1:]
    cols = np.where(now.cols > 0, np.argmin(spent + col_offset, axis=1), 0)
    return replace(now, rows=_from_one(rows.astype(np.int64)), cols=_from_one(cols))


def _lengths(counts: Ints) -> Costs:
    """Return the cost (sums, _TOP + 1) of magnitudes; sums that were rare lean on their neighbours."""
    some = counts[: 2 * CLASSES, : _TOP + 1].astype(np.float64)
    some[:, _TOP] += counts[: 2 * CLASSES, _TOP + 1 :].sum(1)
    some[1:-1] += 0.05 * (some[:-2] + some[2:])
    some += 1e-3 * some.sum(0) / max(some.sum(), 1) + 1e-4
    return np.asarray(np.rint(-UNIT * np.log2(some / some.sum(1, keepdims=True))), np.int32)


def _of_zeros(zeros: Costs, classes: NDArray[np.integer]) -> Costs:
    """Return what zeros alone cost each candidate, given the classes that they meet; dead ones meet nobody."""
    met = np.bincount(classes, minlength=CLASSES)
    met[0] = 0
    return (zeros @ met).astype(np.int32)


def _by_size(sums: Ints) -> Ints:
    """Return classes by half octaves of the mean magnitude, the largest in the highest class; 0 for what is zero."""
    below = np.rint(_PER_OCTAVE * np.log2(sums.max() / np.maximum(sums, 1)))
    return _from_one(np.where(sums == 0, 0, np.clip(_TOP_CLASS - below, 1, _TOP_CLASS)).astype(np.int64))


def _from_one(classes: Ints) -> Ints:
    """Return classes whose lowest live one is 1."""
    live = classes[classes > 0]
    return np.where(classes > 0, classes - live.min() + 1, 0) if live.size else classes
