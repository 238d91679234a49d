"""The tables of a model as bits. What is read was checked: any tables that come out of it can be coded with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thinwire.errors import WireError
from thinwire.kernels.ans.alphabet import DIRECT, Alphabet, alphabet
from thinwire.kernels.ans.bits import Reader, Writer, golomb_bits
from thinwire.kernels.ans.contexts import ANGLES, CLASSES
from thinwire.kernels.ans.tables import BINS, OCTAVES, Ints, Walks

MOST_SHIFT = 2
MOST_SUMS = 2 * (CLASSES - 1) - 1 + MOST_SHIFT
_ORDERS = range(4)
_FEW = 2
_FEW_LEVELS = 32
_FEW_ENTRIES, _ENTRIES = 1 << 10, 16
_NONE = np.zeros(ANGLES, np.int64)

Rows = list[list[int]]


@dataclass(frozen=True, eq=False)
class Tables:
    """``groups[i]`` is the magnitude table (a row of ``walks``) of the i-th sum of classes.

    ``angle_groups`` maps the ANGLES to rows of ``chance_levels`` (groups, BINS), whose first row is a coin: all zero.
    ``shifts`` (ANGLES) are added to sums of classes: near a right angle, where signs are coins, magnitudes are smaller.
    """

    alphabet: Alphabet
    groups: Ints
    walks: Walks
    angle_groups: Ints
    chance_levels: Ints
    shifts: Ints

    @property
    def levels(self) -> int:
        """How many levels are told."""
        return int(self.walks.explicit.sum()) + BINS * int(self.angle_groups[-1])

    @property
    def tables(self) -> int:
        """How many tables a decoder sets up: one for every magnitude table and every chance."""
        return (int(self.groups[-1]) + 1) * (int(self.angle_groups[-1]) + 1)

    def serve(self, count: int) -> bool:
        """Return whether that many symbols are worth the tables: a decoder's work follows its symbols, then."""
        return _serve(self.tables, int(self.walks.sizes.max()), self.levels, count)


def _serve(tables: int, tokens: int, levels: int, count: int) -> bool:
    entries = tables * (2 * tokens - 1)
    few = tables <= 1 + count and levels <= _FEW_LEVELS + count
    return few and entries <= _FEW_ENTRIES + _ENTRIES * count


def _check(tables: int, tokens: int, levels: int, count: int) -> None:
    if not _serve(tables, tokens, levels, count):
        raise WireError(f"ans: tables of {levels} levels, {tables} times {tokens} tokens, for {count} symbols")


def write(out: Writer, tables: Tables) -> None:
    """Append the tables of a model."""
    out.bits(tables.alphabet.direct - DIRECT[0], 3)
    out.golomb(len(tables.groups) - 1, _FEW)
    _write_groups(out, tables.groups)
    write_walks(out, tables.walks)
    angles = bool(tables.angle_groups[-1] or tables.shifts.any())
    out.bits(angles, 1)
    if angles:
        _write_groups(out, tables.angle_groups)
        _write_levels(out, tables.chance_levels[1:].tolist())
        out.signed(tables.shifts.tolist(), 0)


def read(taken: Reader, count: int) -> Tables:
    """Return the tables that ``write`` wrote for ``count`` symbols."""
    tables = _read(taken, count)
    _check(tables.tables, int(tables.walks.sizes.max()), tables.levels, count)
    return tables


def _read(taken: Reader, count: int) -> Tables:
    direct = taken.bits(3) + DIRECT[0]
    if direct not in DIRECT:
        raise WireError(f"ans: {direct} bits of direct magnitudes, expected at most {DIRECT[-1]}")
    groups = _read_groups(taken, taken.golomb(_FEW, MOST_SUMS - 1) + 1)
    walks = read_walks(taken, int(groups[-1]) + 1, len(alphabet(direct).base), count)
    if not taken.bits(1):
        return Tables(alphabet(direct), groups, walks, _NONE, np.zeros((1, BINS), np.int64), _NONE)
    angle_groups = _read_groups(taken, ANGLES)
    rows = _read_levels(taken, [BINS] * int(angle_groups[-1]), OCTAVES << walks.fineness)
    shifts = np.array([taken.signed(0, MOST_SHIFT) for _ in range(ANGLES)])
    return Tables(alphabet(direct), groups, walks, angle_groups, np.array([[0] * BINS, *rows], np.int64), shifts)


def write_walks(out: Writer, walks: Walks) -> None:
    """Append tables of magnitudes: fineness, sizes, how many levels each has, and the levels."""
    out.bits(walks.fineness - 1, 2)
    out.signed(np.diff(walks.sizes, prepend=1).tolist(), _FEW)
    for size, explicit in zip(walks.sizes.tolist(), walks.explicit.tolist(), strict=True):
        if size > 1:
            out.golomb(explicit - 1, 0)
    _write_levels(out, [row[:end] for row, end in zip(walks.levels.tolist(), walks.explicit.tolist(), strict=True)])


def read_walks(taken: Reader, tables: int, most: int, count: int) -> Walks:
    """Return that many tables, each of at most ``most`` tokens, which ``count`` symbols are worth."""
    _check(tables, 1, 0, count)
    fineness = taken.bits(2) + 1
    sizes = 1 + np.cumsum([taken.signed(_FEW, most) for _ in range(tables)])
    if int(sizes.min()) < 1 or int(sizes.max()) > most:
        raise WireError(f"ans: tables of {sizes.tolist()} tokens, expected 1 to {most}")
    _check(tables, int(sizes.max()), 0, count)
    explicit = [taken.golomb(0, size - 2) + 1 if size > 1 else 0 for size in sizes.tolist()]
    _check(tables, int(sizes.max()), sum(explicit), count)
    width = int(sizes.max()) - 1
    rows = _read_levels(taken, explicit, OCTAVES << fineness)
    filled = [row + row[-1:] * (width - len(row)) if row else [0] * width for row in rows]
    return Walks(fineness, sizes, np.array(explicit), np.array(filled, np.int64).reshape(tables, width))


def _write_groups(out: Writer, groups: Ints) -> None:
    for new in np.diff(groups).tolist():
        out.bits(new, 1)


def _read_groups(taken: Reader, count: int) -> Ints:
    return np.cumsum([0, *(taken.bits(1) for _ in range(count - 1))])


def _write_levels(out: Writer, rows: Rows) -> None:
    """Append levels as differences to the table before, or in the first one to the level before."""
    residuals = [level - guess for row, guesses in zip(rows, _guesses(rows), strict=True)
                 for level, guess in zip(row, guesses, strict=True)]  # fmt: skip
    codes = [-2 * value - 1 if value < 0 else 2 * value for value in residuals]
    order = min(_ORDERS, key=lambda order: golomb_bits(codes, order))
    out.bits(order, 2)
    out.signed(residuals, order)


def _read_levels(taken: Reader, lengths: list[int], most: int) -> Rows:
    """Return rows of levels of these lengths, each within ``-most .. most``."""
    order = taken.bits(2)
    rows: Rows = []
    before: list[int] = []
    for length in lengths:
        row: list[int] = []
        for place in range(length):
            row.append(_guess(before, row, place) + taken.signed(order, 2 * most))
            if abs(row[-1]) > most:
                raise WireError(f"ans: a level of {row[-1]}, expected at most {most} either way")
        rows.append(row)
        before = row or before
    return rows


def _guesses(rows: Rows) -> Rows:
    before: list[int] = []
    guesses = []
    for row in rows:
        guesses.append([_guess(before, row[:place], place) for place in range(len(row))])
        before = row or before
    return guesses


def _guess(before: list[int], row: list[int], place: int) -> int:
    """Return the level to expect: that of the table before, whose last one holds on, or else the one before."""
    if before:
        return before[min(place, len(before) - 1)]
    return row[-1] if row else 0
