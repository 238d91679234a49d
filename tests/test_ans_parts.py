"""What Ans is made of: tables, their head, the alphabet, counts, and what a quantizer asks: costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ans_symbols import made, product
from hypothesis import given
from hypothesis import strategies as st

from thinwire.kernels import ans
from thinwire.kernels.ans import counting, cpu, head, prices, stream
from thinwire.kernels.ans.alphabet import DIRECT, LOOKUP, alphabet, merged
from thinwire.kernels.ans.bits import Reader, Writer, golomb_bits
from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.contexts import ANGLES, by_sum
from thinwire.kernels.ans.tables import _POWERS, BINS, OCTAVES, ONE, TOTAL, Walks, chance, cumulated, guide, with_signs
from thinwire.kernels.ans.tokens import token_above


def walks(draw: Any) -> Walks:
    fineness, tables = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    sizes = np.array(draw(st.lists(st.integers(1, 352), min_size=tables, max_size=tables)))
    most = OCTAVES << fineness
    rows = [
        draw(st.lists(st.integers(-most, most), min_size=int(size > 1), max_size=min(size - 1, 9)))
        for size in sizes.tolist()
    ]
    width = int(sizes.max()) - 1
    levels = [row + row[-1:] * (width - len(row)) if row else [0] * width for row in rows]
    return Walks(fineness, sizes, np.array([len(row) for row in rows]), np.array(levels).reshape(tables, width))


@pytest.mark.parametrize(("rows", "cols", "count"), [(1, 7, 7), (9, 13, 110), (60, 40, 2400)])
def test_compiled_counting_equals_the_reference(rows: int, cols: int, count: int) -> None:
    rng = np.random.default_rng(3)
    values = (rng.standard_normal(count) * 10.0 ** rng.integers(0, 9, count)).astype(np.int32)
    sides = [rng.integers(0, 4, rows), rng.integers(0, 4, cols), rng.integers(-3, 4, rows), rng.integers(-3, 4, cols)]
    grid = Classes(*sides).grid(count)
    costs = rng.integers(0, 99, (23, 16, 16)).astype(np.int32)
    costs[11] = 0
    own, other = (rng.integers(0, 16, side).astype(np.uint8) for side in (rows, cols))
    offset = rng.integers(0, 500, 16).astype(np.int32)
    for step in (1, 3):
        picked = np.arange(0, rows, step)
        shifts = by_sum(rng.integers(-2, 3, ANGLES))
        plain, fast = (x.tally(values, grid, shifts, picked) for x in (counting, cpu))
        for name in ("magnitudes", "signs", "joint"):
            assert np.array_equal(getattr(plain, name), getattr(fast, name)), name
        ask = counting.Question(costs, own, other, rng.random(rows) < 0.8, offset, step, step + 1)
        for slow, quick in zip(counting.refine(values, count, ask), cpu.refine(values, count, ask), strict=True):
            assert np.array_equal(slow, quick)


@given(st.integers(4, 8), st.integers(0, 2**31))
def test_the_token_of_a_large_magnitude_needs_no_search(direct: int, magnitude: int) -> None:
    symbols, rare = alphabet(direct), max(magnitude, 1 << direct)
    found = token_above.py_func(np.uint64(rare), np.uint64(symbols.base.size))
    assert found == np.searchsorted(symbols.base, rare, side="right") - 1


def test_costs_add_up_to_the_stream() -> None:
    values, _ = product((300, 200), 1.0)
    flat = values.reshape(-1)
    model = ans.model(flat, values.shape)
    most = int(np.abs(flat).max())
    tables, minus = ans.contexts(model, flat.size)
    costs = ans.costs(model, most)
    live = tables >= 0
    assert not flat[~live].any()
    told = costs[tables[live], most + np.where(minus, -flat, flat)[live]].sum()
    out = Writer()
    head.write(out, model.tables)
    real = 8 * len(ans.encode(flat, values.shape))
    assert real * 0.93 <= told + out.count <= real
    assert np.all(np.abs(np.exp2(-costs[:, most - 3 : most + 4].astype(np.float64)).sum(1)) <= 1.001)


def test_costs_of_what_a_table_does_not_hold_are_high() -> None:
    model = ans.model(made("ones", (2000,)), (2000,))
    costs = ans.costs(model, 50)
    assert costs.shape[1] == 101
    assert np.isfinite(costs).all()
    assert costs[:, 0].min() > 14


@given(data=st.data())
def test_frequencies_are_those_of_the_walk_token_by_token(data: st.DataObject) -> None:
    made = walks(data.draw)
    for table, size in enumerate(made.sizes.tolist()):
        rest, truth = TOTAL, []
        for token in range(size):
            after = size - 1 - token
            level = made.levels[table, token : token + 1] if after else np.array([OCTAVES << made.fineness])
            stopped = rest * int(chance(level, made.fineness)[0]) // ONE
            truth.append(min(max(stopped, 1 + (token > 0)), rest - 2 * after))
            rest -= truth[-1]
        assert made.frequencies[table, :size].tolist() == truth
        assert not made.frequencies[table, size:].any()


@given(data=st.data())
def test_tables_are_whole_and_searchable(data: st.DataObject) -> None:
    magnitudes = walks(data.draw).frequencies
    assert (magnitudes.sum(1) == TOTAL).all()
    levels = np.array(data.draw(st.lists(st.integers(-ONE, ONE), min_size=BINS, max_size=BINS)))[None]
    signed = with_signs(magnitudes, np.concatenate([np.full((1, BINS), ONE // 2), np.abs(levels)]))
    assert (signed.sum(1) == TOTAL).all()
    assert (signed >= 0).all()
    starts = cumulated(signed)
    for bits in (5, 9):
        slots = np.arange(1 << bits) << 14 - bits
        truth = [np.searchsorted(row[1:], slots, side="right") for row in starts]
        assert np.array_equal(guide(starts, bits), np.array(truth))


@pytest.mark.parametrize("fineness", [1, 2, 3, 4])
def test_chances_are_those_of_their_odds(fineness: int) -> None:
    levels = np.arange(-(OCTAVES << fineness), OCTAVES << fineness)
    odds = 2.0 ** (levels / 2**fineness)
    assert np.abs(chance(levels, fineness) / ONE - odds / (1 + odds)).max() <= 2 / ONE
    assert chance(np.array([OCTAVES << fineness]), fineness)[0] == ONE


def test_powers_are_rounded_right() -> None:
    assert _POWERS.tolist() == [round(2 ** (16 + i / 16)) for i in range(16)]


@given(data=st.data())
def test_head_round_trip(data: st.DataObject) -> None:
    some = walks(data.draw)
    tables = len(some.sizes)
    groups = np.repeat(np.arange(tables), data.draw(st.integers(1, 4)))
    chances = data.draw(st.integers(0, 3))
    angle_groups = np.minimum(np.arange(ANGLES), chances)
    most = OCTAVES << some.fineness
    rows = data.draw(st.lists(st.lists(st.integers(-most, most), min_size=3, max_size=3), min_size=chances,
                              max_size=chances))  # fmt: skip
    shifts = np.array(data.draw(st.lists(st.integers(-2, 2), min_size=ANGLES, max_size=ANGLES)))
    written = head.Tables(alphabet(8), groups, some, angle_groups, np.array([[0] * BINS, *rows]), shifts)
    out = Writer()
    head.write(out, written)
    taken = Reader(out.data() + b"\xff")
    read = head.read(taken, 1 << 20)
    assert taken.count == out.count
    for name in ("groups", "angle_groups", "chance_levels", "shifts"):
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
    for name in ("sizes", "explicit", "levels"):
        assert np.array_equal(getattr(read.walks, name), getattr(some, name)), name


@given(values=st.lists(st.integers(0, 2**30), max_size=30), order=st.integers(0, 20))
def test_golomb_round_trip(values: list[int], order: int) -> None:
    out = Writer()
    for value in values:
        out.golomb(value, order)
    assert out.count == golomb_bits(values, order)
    taken = Reader(out.data())
    assert [taken.golomb(order, 2**30) for _ in values] == values


@pytest.mark.parametrize("direct", DIRECT)
def test_every_magnitude_has_a_token(direct: int) -> None:
    symbols = alphabet(direct)
    ends = symbols.base + (1 << symbols.extra)
    assert symbols.base[0] == 0
    assert np.array_equal(symbols.base[1:], ends[:-1])
    assert ends[-1] == 2**32
    assert np.array_equal(symbols.tokens, np.searchsorted(symbols.base, np.arange(LOOKUP), side="right") - 1)


@pytest.mark.parametrize("direct", DIRECT)
def test_counts_of_a_finer_alphabet_merge(direct: int) -> None:
    fine, coarse = alphabet(max(DIRECT)), alphabet(direct)
    magnitudes = np.random.default_rng(0).integers(0, 5000, 9000)
    counts, truth = (np.bincount(np.searchsorted(x.base, magnitudes, side="right") - 1) for x in (fine, coarse))
    assert np.array_equal(merged(counts, fine, coarse)[: truth.size], truth)


def test_prices_of_a_model_are_its_size() -> None:
    values, _ = product((200, 300), 0.7)
    flat = values.reshape(-1)
    model = ans.model(flat, values.shape)
    tally = counting.tally(flat, model.classes.grid(flat.size), by_sum(model.tables.shifts), np.arange(200))
    told = prices.symbol_bits(model.tables, tally) + prices.head_bits(model.tables)
    real = 8 * len(stream.write(flat, model, False))
    assert told <= real <= 1.01 * told + 8 * 500
