"""Which model: with classes of rows and columns or without, with signs or without, and how wide a row is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from thinwire.kernels.ans.alphabet import Symbols
from thinwire.kernels.ans.blocks import fitting_loops
from thinwire.kernels.ans.classes import Classes, plain
from thinwire.kernels.ans.contexts import ANGLES, CLASSES, PHASES
from thinwire.kernels.ans.counting import Survey, Tally
from thinwire.kernels.ans.fit import entropies
from thinwire.kernels.ans.fitting import fitted
from thinwire.kernels.ans.models import TABLE_BITS, Model, build, shifts, without_magnitudes, without_signs
from thinwire.kernels.ans.prices import head_bits, symbol_bits
from thinwire.kernels.ans.sample import LARGE
from thinwire.kernels.ans.stream import plain_width
from thinwire.kernels.ans.tables import Ints
from thinwire.kernels.ans.tallies import Counting

_WORTH_CONTEXT = 1 << 10
_LINE = 1 << 7
_FEW_ROWS, _LONG = 64, 1 << 20
_CLOSE, _CLOSE_BITS = 0.0005, 400.0
_FAR = 0.85
_SIDES_BITS = 200.0
_UNSHIFTED = np.zeros(ANGLES, np.int64)


@dataclass(frozen=True, eq=False)
class Choice:
    """Models that may take the fewest bits, the likeliest first with about its bits, and if chunks may take fewer."""

    models: list[Model]
    bits: float
    try_chunks: bool


def surveyed(values: Symbols, shape: tuple[int, ...]) -> Survey:
    """Return the survey of symbols as the rows of a tensor's shape."""
    width, _ = widths(values.size, shape) or (plain_width(values.size), False)
    return fitting_loops(values.size).survey(values, width)  # type: ignore[no-any-return]


def choose(values: Symbols, shape: tuple[int, ...], seen: Survey, like: Classes | None = None) -> Choice:
    """Return the models worth trying for symbols of a tensor's shape, with classes of about ``like`` where they fit."""
    lines = widths(values.size, shape)
    options = _options(values, _classes(values, seen, lines[1], like), lines[1]) if lines else [without_context(values)]
    (model, bits), *others = sorted(options, key=lambda option: option[1])
    close = _CLOSE_BITS + bits * _CLOSE if values.size < LARGE else 0.0
    near = [other for other, more in others if more - bits < close]
    return Choice([model, *near], bits, not others or bits > others[0][1] * _FAR)


def widths(count: int, shape: tuple[int, ...]) -> tuple[int, bool] | None:
    """Return how wide a row is and if its sign may tell something: None for few symbols.

    The tensor's own rows, or short lines of a vector. A long tensor of few rows is a vector: classes of its columns
    would take more memory than it does.
    """
    sides = [side for side in shape if side > 1]
    if count < _WORTH_CONTEXT:
        return None
    if len(sides) < 2 or (sides[0] < _FEW_ROWS and count >= _LONG):
        return (_LINE, False) if count >= _LINE * _LINE else None
    return math.prod(sides[1:]), True


def _classes(values: Symbols, seen: Survey, signed: bool, like: Classes | None) -> Classes:
    """Return classes of ``like`` if none of their dead rows and columns came to life, else those that suit best."""
    if like is None or len(like.rows) != len(seen.rows) or len(like.cols) != len(seen.cols):
        return fitted(values, seen, fitting_loops(values.size), signed)
    if seen.rows[like.rows == 0].any() or seen.cols[like.cols == 0].any():
        return fitted(values, seen, fitting_loops(values.size), signed)
    rows, cols = np.where(seen.rows > 0, like.rows, 0), np.where(seen.cols > 0, like.cols, 0)
    return replace(like, rows=rows, cols=cols)


def _options(values: Symbols, classes: Classes, signed: bool) -> list[tuple[Model, float]]:
    """Return the model without any context, and the one with what of it pays, with about their bits."""
    counting = Counting(values, classes)
    tally = counting.tally(_UNSHIFTED)
    bare = without_magnitudes(classes, tally, values.size)
    found = [_fitted(*(without_signs(*bare) if signed else bare))]
    signs_pay = _signs_pay(classes, tally)
    if not signs_pay:
        classes, tally = without_signs(classes, tally)
    if not _magnitudes_pay(classes, tally, bare[1]):
        return [*found, _fitted(*without_magnitudes(classes, tally, values.size))] if signs_pay else found
    moved = shifts(tally.joint) if signs_pay else _UNSHIFTED
    if moved.any():
        tally = counting.tally(moved)
    return [*found, _fitted(classes, tally, moved)]


def without_context(values: Symbols) -> tuple[Model, float]:
    """Return the model of one table for all symbols, and about its bits."""
    classes = plain(values.size, plain_width(values.size))
    return _fitted(classes, Counting(values, classes).tally(_UNSHIFTED))


def _fitted(classes: Classes, tally: Tally, moved: Ints = _UNSHIFTED) -> tuple[Model, float]:
    model = build(classes, tally, moved)
    return model, _bits(model, tally)


def _bits(model: Model, tally: Tally) -> float:
    sides = _magnitude_sides(model.classes) + _sign_sides(model.classes)
    return symbol_bits(model.tables, tally) + head_bits(model.tables) + sides


def _signs_pay(classes: Classes, tally: Tally) -> bool:
    spent = entropies(tally.signs[: 2 * PHASES + 1]).sum() + tally.signs[2 * PHASES + 1 :].sum()
    return bool(spent + _sign_sides(classes) + TABLE_BITS < tally.signs.sum())


def _magnitudes_pay(classes: Classes, tally: Tally, bare: Tally) -> bool:
    spent = entropies(tally.magnitudes).sum() + _magnitude_sides(classes) + TABLE_BITS
    return bool(spent < entropies(bare.magnitudes).sum())


def _magnitude_sides(classes: Classes) -> float:
    return _named(classes.rows) + _named(classes.cols)


def _sign_sides(classes: Classes) -> float:
    return _named(classes.row_phases + PHASES) + _named(classes.col_phases + PHASES)


def _named(classes: Ints) -> float:
    """Return about how many bits classes take, their table and share of the block included; none if all are one."""
    bits = float(entropies(np.bincount(classes, minlength=CLASSES)))
    return bits + _SIDES_BITS / 4 if bits else 0.0
