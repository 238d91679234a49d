"""The loops over symbols that models are fitted with, in numpy: what the compiled ones must equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans.alphabet import DIRECT, LOOKUP, Symbols, Values, alphabet
from thinwire.kernels.ans.contexts import CLASSES, DEAD, KEYS, PHASE_SHIFT, SIGN_BIT, Grid
from thinwire.kernels.ans.tables import BINS, Ints

FINEST = alphabet(max(DIRECT))
SUMS = 1 << PHASE_SHIFT
PHASE_SUMS = KEYS >> PHASE_SHIFT
FEW = 12
CLIP = 255
"""Larger magnitudes count as this much in sums: a few of them say little about their row."""

Costs = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Tally:
    """How often a magnitude token of the finest alphabet came at a sum of classes (SUMS, tokens), and signs.

    ``signs`` (PHASE_SUMS, BINS, 2): signs at a sum of phases, by bin of the magnitude, against and as expected.
    ``joint`` (PHASE_SUMS, SUMS, FEW): tokens, the last for all above, at both sums.
    """

    magnitudes: Ints
    signs: Ints
    joint: Ints


@dataclass(frozen=True, eq=False)
class Question:
    """What a class costs: ``costs[state, other, candidate]``, where state is the symbol clipped to ``-top .. top``.

    ``own`` and ``other`` are the classes of rows and columns now (uint8), ``free`` the rows that may change,
    ``offset`` the cost of each candidate before any symbol; zeros cost nothing more. Rows look at every
    ``across``-th column, columns at every ``down``-th row.
    """

    costs: Costs
    own: NDArray[np.uint8]
    other: NDArray[np.uint8]
    free: NDArray[np.bool_]
    offset: Costs
    across: int = 1
    down: int = 1


@dataclass(frozen=True, eq=False)
class Survey:
    """Sums of magnitudes (255 at most each) of rows and of columns, the extremes, and how many are not zero."""

    rows: Ints
    cols: Ints
    low: int
    high: int
    found: int


def survey(values: Symbols, width: int) -> Survey:
    """Return what one look at symbols (at least one), as rows of a width, tells."""
    square, _ = _square(values, values.size, width)
    clipped = np.minimum(np.abs(square), CLIP)
    extremes = int(values.min()), int(values.max())
    return Survey(clipped.sum(1), clipped.sum(0), *extremes, int(np.count_nonzero(values)))


def peaks(values: Symbols, kinds: Ints, width: int, first: int, extremes: Values) -> None:
    """Lower ``extremes[kind, 0]`` and raise ``extremes[kind, 1]`` to those of some columns of all rows of a kind.

    ``extremes`` is (kinds, 2, columns), the columns those from ``first`` on; ``values`` are rows of ``width``, whose
    kinds are ``kinds``.
    """
    for row, kind in enumerate(kinds.tolist()):
        some = values[row * width : (row + 1) * width][first : first + extremes.shape[2]]
        low, high = extremes[kind, :, : some.size]
        np.minimum(low, some, out=low)
        np.maximum(high, some, out=high)


def tally(values: Symbols, grid: Grid, shifts: Ints, picked: Ints) -> Tally:
    """Count the ``picked`` rows of a grid; dead rows and columns are left out.

    Sums of classes are shifted by that of their sum of phases: ``shifts`` (PHASE_SUMS) of -2 to 2.
    """
    square, inside = _square(values, grid.count, grid.width)
    rows = grid.rows[picked]
    some = inside[picked] & (rows != DEAD)[:, None] & (grid.cols != DEAD)
    summed = (rows.astype(np.int64)[:, None] + grid.cols)[some]
    symbols = square[picked][some]
    tokens = _tokens(np.abs(symbols))
    width = len(FINEST.base)
    phases = (summed & KEYS - 1) >> PHASE_SHIFT
    sums = (summed & SUMS - 1) + shifts[phases]
    magnitudes = np.bincount(sums * width + tokens, minlength=SUMS * width)
    joint = np.bincount((phases * SUMS + sums) * FEW + np.minimum(tokens, FEW - 1), minlength=PHASE_SUMS * SUMS * FEW)
    signed = symbols != 0
    agree = (symbols[signed] > 0) != ((summed[signed] >> SIGN_BIT & 1) > 0)
    place = (phases[signed] * BINS + np.minimum(tokens[signed], BINS) - 1) * 2 + agree
    return Tally(
        magnitudes.reshape(SUMS, width),
        np.bincount(place, minlength=PHASE_SUMS * BINS * 2).reshape(PHASE_SUMS, BINS, 2),
        joint.reshape(PHASE_SUMS, SUMS, FEW),
    )


def refine(values: Symbols, count: int, ask: Question) -> tuple[NDArray[np.uint8], Costs]:
    """Return the cheapest class of every row, and what each would cost every column after that (width, CLASSES)."""
    square, _ = _square(values, count, len(ask.other))
    top = len(ask.costs) // 2
    states = np.clip(square, -top, top) + top
    across = slice(None, None, ask.across)
    spent = ask.costs[states[:, across], ask.other[across]].sum(1, dtype=np.int32) + ask.offset
    own = np.where(ask.free, np.argmin(spent, axis=1), ask.own).astype(np.uint8)
    down = slice(None, None, ask.down)
    return own, ask.costs[states[down], own[down, None]].sum(0, dtype=np.int32).reshape(-1, CLASSES)


def _tokens(magnitudes: Ints) -> Ints:
    rare = np.searchsorted(FINEST.base, magnitudes, side="right") - 1
    return np.where(magnitudes < LOOKUP, FINEST.tokens[np.minimum(magnitudes, LOOKUP - 1)], rare).astype(np.int64)


def _square(values: Symbols, count: int, width: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the values as rows of the width, filled up with zeros, and which of them are there."""
    missing = -count % width
    filled = np.concatenate([values.astype(np.int64), np.zeros(missing, np.int64)]).reshape(-1, width)
    return filled, (np.arange(filled.size) < count).reshape(filled.shape)
