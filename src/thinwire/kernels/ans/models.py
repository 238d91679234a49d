"""A model of symbols: classes and phases of rows and columns, and integer tables for their sums.

Sums of classes that are rare share a table with their neighbours. Tables of magnitudes and chances of signs are fitted
apart and multiplied, so that each is paid for once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from thinwire.kernels.ans import fit
from thinwire.kernels.ans.alphabet import alphabet, merged
from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.contexts import (
    ANGLES,
    KEYS,
    LOWEST_SUM,
    NO_PHASE,
    PHASE_SHIFT,
    Coder,
    by_sum,
)
from thinwire.kernels.ans.counting import FINEST, SUMS, Tally
from thinwire.kernels.ans.head import MOST_SHIFT, Tables
from thinwire.kernels.ans.tables import OCTAVES, ONE, Ints, Walks, chance, cumulated, with_signs

_SUM_OF_KEY, _PHASE_OF_KEY = np.arange(KEYS) & SUMS - 1, np.arange(KEYS) >> PHASE_SHIFT
TABLE_BITS = 16.0
_CHANCES_BITS = 14.0
_SHIFT_ROUNDS = 3
_CERTAIN = 64
"""So many signs as expected and none against: certainty pays."""


@dataclass(frozen=True, eq=False)
class Model:
    """Classes of rows and columns, and the tables for their sums."""

    classes: Classes
    tables: Tables

    @cached_property
    def coder(self) -> Coder:
        """The coder with these tables."""
        return coder(self.tables)


def coder(tables: Tables) -> Coder:
    """Return the coder whose table of a summed key is ``magnitude table * chances + chance of the sign``."""
    agree = chance(tables.chance_levels, tables.walks.fineness)
    starts = cumulated(with_signs(tables.walks.frequencies, agree))
    if len(starts) == 1:
        return Coder(tables.alphabet, starts, np.zeros(KEYS, np.uint16))
    sums = _SUM_OF_KEY + by_sum(tables.shifts)[_PHASE_OF_KEY] - LOWEST_SUM
    group = tables.groups[np.clip(sums, 0, len(tables.groups) - 1)]
    table_of = group * len(agree) + by_sum(tables.angle_groups)[_PHASE_OF_KEY]
    return Coder(tables.alphabet, starts, table_of.astype(np.uint16))


def one_sided(walks: Walks, direct: int) -> Coder:
    """Return the coder of numbers from 0 whose table is that of their column's class: 1 is the first, and so on."""
    frequencies = with_signs(walks.frequencies, np.full((1, 3), ONE))
    table_of = np.clip(_SUM_OF_KEY - LOWEST_SUM, 0, len(frequencies) - 1)
    return Coder(alphabet(direct), cumulated(frequencies), table_of.astype(np.uint16))


def build(classes: Classes, tally: Tally, shifts: Ints) -> Model:
    """Return the model with the tables that suit a tally of the classes' grid, which holds every symbol coded."""
    symbols = fit.direct(tally.magnitudes.sum(0))
    sums = np.flatnonzero(tally.magnitudes.any(1))
    last = max(int(sums[-1]), LOWEST_SUM) if sums.size else LOWEST_SUM
    counts = merged(tally.magnitudes[LOWEST_SUM : last + 1], FINEST, symbols)
    counts[0] += merged(tally.magnitudes[:LOWEST_SUM].sum(0), FINEST, symbols)
    groups = _groups(counts)
    grouped = np.stack([counts[groups == group].sum(0) for group in range(int(groups[-1]) + 1)])
    fine = fit.fineness(grouped)
    angle_groups, levels = _chances(tally.signs, fine)
    return Model(classes, Tables(symbols, groups, fit.fit(grouped, fine), angle_groups, levels, shifts))


def without_signs(classes: Classes, tally: Tally) -> tuple[Classes, Tally]:
    """Return classes and tally (without shifts) of a model to which every sign is a coin."""
    rows, cols = np.ones_like(classes.row_phases), np.ones_like(classes.col_phases)
    coins = np.zeros_like(tally.signs)
    coins[-1] = tally.signs.sum(0)
    return replace(classes, row_phases=rows, col_phases=cols), replace(tally, signs=coins)


def without_magnitudes(classes: Classes, tally: Tally, count: int) -> tuple[Classes, Tally]:
    """Return classes and tally of a model that knows no magnitude classes, so that no row is dead."""
    rows, cols = np.ones_like(classes.rows), np.ones_like(classes.cols)
    together = np.zeros_like(tally.magnitudes)
    together[LOWEST_SUM] = tally.magnitudes.sum(0)
    # Counts of a sample are about right, and no more.
    together[LOWEST_SUM, 0] += max(0, count - int(tally.magnitudes.sum()))
    return replace(classes, rows=rows, cols=cols), replace(tally, magnitudes=together)


def shifts(joint: Ints) -> Ints:
    """Return how far each angle's sums of classes are best shifted, from a tally without shifts."""
    by_angle = np.concatenate([joint[NO_PHASE:].sum(0)[None], joint[2 : ANGLES + 1]]).astype(np.float64)
    found = np.zeros(ANGLES, np.int64)
    options = np.arange(-MOST_SHIFT, MOST_SHIFT + 1)
    for _ in range(_SHIFT_ROUNDS):
        together = sum(np.roll(some, by, 0) for some, by in zip(by_angle, found, strict=True)) + 0.01
        bits = -np.log2(together / together.sum(1, keepdims=True))
        spent = np.stack([(by_angle * np.roll(bits, -by, 0)).sum((1, 2)) for by in options])
        # At equal cost no shift: angles that never come have none.
        found = options[np.argmin(spent - 1e-3 * (options == 0)[:, None], axis=0)]
    return found


def _groups(counts: Ints) -> Ints:
    """Return the table of every sum: neighbours share one unless two save more than the second one costs."""
    alone = fit.entropies(counts)
    groups, held, held_bits = np.zeros(len(counts), np.int64), counts[0], alone[0]
    for i in range(1, len(counts)):
        both = fit.entropies(held + counts[i])
        apart = both - held_bits - alone[i] > TABLE_BITS
        groups[i] = groups[i - 1] + apart
        held, held_bits = (counts[i], alone[i]) if apart else (held + counts[i], both)
    return groups


def _chances(counts: Ints, fine: int) -> tuple[Ints, Ints]:
    """Return which chances every angle has, and their levels: the first ones are a coin's."""
    groups, rows = np.zeros(ANGLES, np.int64), [np.zeros(counts.shape[1:], np.int64)]
    for angle in range(1, ANGLES):
        new = counts[angle + 1]
        shared = new.sum() if len(rows) == 1 else _sign_bits(rows[-1] + new) - _sign_bits(rows[-1])
        if shared - _sign_bits(new) > _CHANCES_BITS:
            rows.append(new)
        elif len(rows) > 1:
            rows[-1] = rows[-1] + new
        groups[angle:] = len(rows) - 1
    stacked = np.stack(rows)
    levels = fit.levels(stacked[..., 1], stacked[..., 0], fine)
    levels[(stacked[..., 0] == 0) & (stacked[..., 1] >= _CERTAIN)] = OCTAVES << fine
    levels[0] = 0
    return groups, levels


def _sign_bits(counts: Ints) -> float:
    return float(fit.entropies(counts).sum())
