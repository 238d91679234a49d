"""The loops of ``reference`` and ``counting`` for one CPU core, compiled by numba. They hold no GIL."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans import counting_loops, loops
from thinwire.kernels.ans.alphabet import Symbols, Values
from thinwire.kernels.ans.contexts import CLASSES, Coder, Grid
from thinwire.kernels.ans.counting import FEW, FINEST, PHASE_SUMS, SUMS, Costs, Question, Survey, Tally
from thinwire.kernels.ans.reference import LOWEST, WORD, States, Words
from thinwire.kernels.ans.tables import BINS, Ints


def encode(values: Symbols, grid: Grid, coder: Coder, lanes: int) -> tuple[States, Words]:
    """Equal ``reference.encode``."""
    most_words = 1 + (int(coder.extra.max()) + WORD - 1) // WORD
    words, states = np.empty(grid.most * most_words + 1, np.uint16), np.full(lanes, LOWEST, np.uint64)
    quick, symbols = coder.encoding, coder.alphabet
    tables = coder.table_of, coder.starts.reshape(-1), symbols.base, symbols.tokens, coder.extra
    found = quick.place_of, quick.entries, quick.reach
    first = loops.encode(values, _coded(grid), found, tables, states, words)
    return states, words[first:]


def decode(states: States, words: Words, grid: Grid, coder: Coder) -> tuple[Values, States, int, bool]:
    """Equal ``reference.decode``."""
    out, lanes = np.zeros(grid.count, np.int32), states.copy()
    quick, padded = coder.decoding, np.append(words, np.uint16(0))
    found = quick.guide_of, quick.guide, quick.bits, quick.entries
    used, overflow = loops.decode(padded, _coded(grid), found, (coder.base, coder.extra), lanes, out)
    return out, lanes, used, overflow


def survey(values: Symbols, width: int) -> Survey:
    """Equal ``counting.survey``."""
    rows, cols = np.zeros(-(-values.size // width), np.int64), np.zeros(width, np.int64)
    return Survey(rows, cols, *counting_loops.survey(values, width, rows, cols))


def peaks(values: Symbols, kinds: Ints, width: int, first: int, extremes: Values) -> None:
    """Equal ``counting.peaks``."""
    counting_loops.peaks(values, kinds, width, first, extremes)


def tally(values: Symbols, grid: Grid, shifts: Ints, picked: Ints) -> Tally:
    """Equal ``counting.tally``."""
    shapes = (SUMS, len(FINEST.base)), (PHASE_SUMS, BINS, 2), (PHASE_SUMS, SUMS, FEW)
    magnitudes, signs, joint = (np.zeros(shape, np.int64) for shape in shapes)
    counting_loops.tally(values, _coded(grid), FINEST.tokens, shifts, picked, magnitudes, signs, joint)
    return Tally(magnitudes, signs, joint)


def refine(values: Symbols, count: int, ask: Question) -> tuple[NDArray[np.uint8], Costs]:
    """Equal ``counting.refine``."""
    own, out = ask.own.copy(), np.zeros((len(ask.other), CLASSES), np.int32)
    costs, top = ask.costs.reshape(-1, CLASSES), len(ask.costs) // 2
    counting_loops.refine(values, count, costs, top, own, ask.other, ask.free, ask.offset, ask.across, ask.down, out)
    return own, out


def _coded(grid: Grid) -> tuple[Any, ...]:
    """Return what the loops take of a grid: keys of rows and live columns, where those are, how many at the end."""
    return grid.rows, grid.cols[grid.places], grid.places, grid.last, grid.width, grid.coded
