"""What symbols cost: in all, and each one where it stands, for a quantizer that weighs bits against error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans.alphabet import merged
from thinwire.kernels.ans.bits import Writer
from thinwire.kernels.ans.contexts import DEAD, KEYS, LOWEST_SUM, SIGN_BIT, by_sum
from thinwire.kernels.ans.counting import FINEST, Tally
from thinwire.kernels.ans.head import Tables, write
from thinwire.kernels.ans.models import Model
from thinwire.kernels.ans.tables import BITS, ONE, TOTAL, chance


def symbol_bits(tables: Tables, tally: Tally) -> float:
    """Return the bits of all symbols of a tally (with the tables' shifts), up to rANS's own loss of about 0.1 %."""
    frequencies = tables.walks.frequencies
    counts = merged(tally.magnitudes[LOWEST_SUM : LOWEST_SUM + len(tables.groups)], FINEST, tables.alphabet)
    counts[0] += merged(tally.magnitudes[:LOWEST_SUM].sum(0), FINEST, tables.alphabet)
    counts = counts[:, : frequencies.shape[1]]
    bits = BITS - np.log2(np.maximum(frequencies[tables.groups], 1)) + tables.alphabet.extra[: counts.shape[1]]
    agree = np.clip(chance(tables.chance_levels, tables.walks.fineness) / ONE, 1 / TOTAL, 1 - 1 / TOTAL)
    chances = np.log2(np.stack([1 - agree, agree], -1))[by_sum(tables.angle_groups)]
    return float((counts * bits).sum() - (tally.signs * chances).sum())


def head_bits(tables: Tables) -> int:
    """Return how many bits the tables themselves take."""
    out = Writer()
    write(out, tables)
    return out.count


def contexts(model: Model, count: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the table of each of ``count`` symbols, -1 where only zero can be coded, and if minus is the usual sign.

    Both 1-D. A symbol s costs ``costs(model, most)[table, most + (-s if minus else s)]`` bits.
    """
    grid = model.classes.grid(count)
    dead = ((grid.rows == DEAD)[:, None] | (grid.cols == DEAD)).reshape(-1)[:count]
    summed = (grid.rows.astype(np.int32)[:, None] + grid.cols).reshape(-1)[:count]
    tables = np.where(dead, np.int32(-1), model.coder.table_of[summed & KEYS - 1])
    return tables, (summed >> SIGN_BIT & 1).astype(bool)


def costs(model: Model, most: int) -> NDArray[np.float32]:
    """Return the bits (tables, 2 * most + 1) of the symbols ``-most .. most`` where the expected sign is plus.

    A symbol that a table does not hold costs what the rarest possible one would.
    """
    symbols = np.arange(-most, most + 1)
    base = model.tables.alphabet.base
    magnitude = np.searchsorted(base, np.abs(symbols), side="right") - 1
    token = np.where(symbols == 0, 0, 2 * magnitude - (symbols < 0))
    held = np.diff(model.coder.starts.astype(np.int64), axis=1)
    frequency = np.zeros((len(held), max(int(token.max()) + 1, held.shape[1])), np.int64)
    frequency[:, : held.shape[1]] = held
    bits = BITS - np.log2(np.maximum(frequency[:, token], 0.5)) + model.tables.alphabet.extra[magnitude]
    return bits.astype(np.float32)
