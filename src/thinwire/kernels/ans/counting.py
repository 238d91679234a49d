"""Two loops over symbols that models are fitted with, in numpy: what the compiled ones must equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans.alphabet import DIRECT, LOOKUP, alphabet
from thinwire.kernels.ans.contexts import CLASSES, DEAD, KEYS, PHASE_SHIFT, SIGN_BIT, Grid
from thinwire.kernels.ans.tables import BINS, Ints

FINEST = alphabet(max(DIRECT))
SUMS = 1 << PHASE_SHIFT
PHASE_SUMS = KEYS >> PHASE_SHIFT
FEW = 12

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


def tally(values: NDArray[np.int32], grid: Grid, shifts: Ints, down: int = 1) -> Tally:
    """Count every ``down``-th row of a grid; dead rows and columns are left out.

    Sums of classes are shifted by that of their sum of phases: ``shifts`` (PHASE_SUMS) of -2 to 2.
    """
    square, inside = _square(values, grid.count, grid.width)
    rows, picked = grid.rows[::down], inside[::down] & (grid.rows != DEAD)[::down, None] & (grid.cols != DEAD)
    summed = (rows.astype(np.int64)[:, None] + grid.cols)[picked]
    symbols = square[::down][picked]
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


def refine(values: NDArray[np.int32], count: int, ask: Question) -> tuple[NDArray[np.uint8], Costs]:
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


def _square(values: NDArray[np.int32], count: int, width: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the values as rows of the width, filled up with zeros, and which of them are there."""
    missing = -count % width
    filled = np.concatenate([values.astype(np.int64), np.zeros(missing, np.int64)]).reshape(-1, width)
    return filled, (np.arange(filled.size) < count).reshape(filled.shape)
