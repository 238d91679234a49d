"""Ans at size: several blocks in every order, tables from a sample of rows, and classes taken from another model."""

from __future__ import annotations

import numpy as np
import pytest
from ans_symbols import made, product, rank_two
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinwire.kernels import ans
from thinwire.kernels.ans import choice, counting, cpu, fitting, orders, phases, sample, stream, tallies
from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.contexts import KEYS, PHASE_SHIFT
from thinwire.kernels.ans.extremes import extremes

KINDS = ("ones", "narrow", "broad", "wide", "rare", "positive", "extremes", "random", "constant")


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small tensors be sampled as large ones are, and cut them into many blocks."""
    for module in (choice, fitting, phases, sample, tallies):
        monkeypatch.setattr(module, "LARGE", 1)
    monkeypatch.setattr(tallies, "_SAMPLED", 500)
    monkeypatch.setattr(tallies, "_FEWEST", 1)
    monkeypatch.setattr(stream, "_BLOCK", 300)


def holds(values: np.ndarray, shape: tuple[int, ...], like: ans.Model | None = None) -> bytes:
    data = ans.encode(values, shape, like)
    assert np.array_equal(ans.decode(data, shape), values)
    return data


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize(
    "shape", [(60, 70), (70, 60), (9, 8, 5, 17), (6000,), (17_000,), (3, 2000), (1100, 5), (1, 900)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_a_sample_hold_every_symbol(kind: str, shape: tuple[int, ...]) -> None:
    holds(made(kind, shape), shape)


@pytest.mark.usefixtures("sampled")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(33, 70),
    cols=st.integers(33, 70),
    kind=st.sampled_from(["product", "rank two", "positive"]),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    outliers=st.lists(st.tuples(st.integers(0, 4000), st.integers(-(2**31), 2**31 - 1)), max_size=4),
    seed=st.integers(0, 99),
)
def test_a_symbol_that_no_sample_saw(
    rows: int, cols: int, kind: str, scale: float, outliers: list[tuple[int, int]], seed: int
) -> None:
    shape = rows, cols
    square = rank_two(shape, 1.0, seed) if kind == "rank two" else product(shape, scale, seed)[0]
    values = (np.abs(square) if kind == "positive" else square).astype(np.int32).reshape(-1)
    for place, value in outliers:
        values[place % values.size] = value
    holds(values, shape)


@pytest.mark.usefixtures("sampled")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_round_trip_with_classes_of_other_symbols_sampled(data: st.DataObject) -> None:
    other_symbols(data)


@settings(max_examples=60)
@given(data=st.data())
def test_round_trip_with_classes_of_other_symbols(data: st.DataObject) -> None:
    other_symbols(data)


def other_symbols(data: st.DataObject) -> None:
    shapes = [(40, 50), (50, 40), (8, 5, 50), (2000,), (17_000,), (30, 20), (4, 500)]
    shape, other = data.draw(st.sampled_from(shapes)), data.draw(st.sampled_from(shapes))
    kinds = st.sampled_from(KINDS)
    first, second = made(data.draw(kinds), other, 1), made(data.draw(kinds), shape, 2)
    first.reshape(other[0], -1)[: data.draw(st.integers(0, 3))] = 0
    if first.any():
        holds(second, shape, ans.model(first, other))


@pytest.mark.parametrize("make", [lambda: product((300, 400), 0.7)[0], lambda: rank_two((300, 400), 1.0)])
def test_classes_of_nearly_the_same_symbols_cost_nearly_nothing(make: object) -> None:
    square = make()  # type: ignore[operator]
    values = square.reshape(-1)
    fewer = np.where(np.random.default_rng(0).random(values.size) < 0.03, 0, values).astype(np.int32)
    own = len(ans.encode(fewer, square.shape))
    assert len(holds(fewer, square.shape, ans.model(values, square.shape))) <= 1.01 * own
    assert len(ans.encode(fewer, square.shape)) == own


def test_rows_that_came_to_life_are_coded() -> None:
    square = product((100, 120), 1.0)[0]
    square[::3] = 0
    square[:, ::4] = 0
    model = ans.model(square.reshape(-1), square.shape)
    assert not model.classes.rows[::3].any()
    again = square.copy()
    again[3, 3] = 1
    again[4, 4] = -70_000
    holds(again.reshape(-1), square.shape, model)


@pytest.mark.parametrize("shape", [(2100, 2101), (70, 60_001), (4_300_000,), (2100, 700, 3), (600, 300, 5, 5)])
@pytest.mark.parametrize("kind", ["product", "positive", "dead"])
def test_large_tensors_of_several_blocks(kind: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    rows = shape[0] if len(shape) > 1 else 100
    scales = np.exp(rng.standard_normal((rows, 1)))
    square = (rng.laplace(0, 0.5, (rows, int(np.prod(shape)) // rows)) * scales).round().astype(np.int32)
    if kind == "positive":
        square = np.abs(square)
    if kind == "dead":
        square[rng.random(rows) < 0.5] = 0
        square[:, :7] = 0
        square[0, 9] = -(2**31)
    values = square.reshape(-1)
    data = holds(values, shape)
    counts = np.unique(values, return_counts=True)[1]
    assert 8 * len(data) <= 1.01 * (counts * np.log2(values.size / counts)).sum()
    small = np.where(rng.random(values.size) < 0.02, 0, values).astype(np.int32)
    assert len(holds(small, shape, ans.model(values, shape))) <= 1.005 * len(ans.encode(small, shape))


@pytest.mark.parametrize("mode", ["swapped", "folded"])
def test_every_order_in_several_blocks(mode: str) -> None:
    rng = np.random.default_rng(0)
    if mode == "swapped":
        scales = np.exp(2 * rng.standard_normal((1, 200, 1)))
        values, shape = (rng.laplace(0, 1, (100, 200, 90)) * scales).round(), (100, 200, 90)
    else:
        values, shape = rng.choice([-4, 0, 3, 5], (1200, 1300)), (1200, 1300)
    data = holds(values.astype(np.int32).reshape(-1), shape)
    assert data[:1] == (orders.SWAPPED if mode == "swapped" else orders.FOLDED)


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("shape", [(1500, 1501), (3, 700_001), (2_100_000,), (7, 300_000)])
def test_every_model_in_several_blocks(classes: bool, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    count = int(np.prod(shape))
    runs = np.repeat(np.exp(rng.standard_normal(-(-count // 3000))), 3000)[:count] if classes else 1.0
    holds((rng.laplace(0, 1, count) * runs).round().astype(np.int32), shape)


@pytest.mark.parametrize(("rows", "cols", "count"), [(1, 7, 7), (9, 33, 265), (60, 40, 2400)])
def test_a_compiled_survey_and_peaks_equal_the_reference(rows: int, cols: int, count: int) -> None:
    rng = np.random.default_rng(rows)
    values = (rng.standard_normal(count) * 10.0 ** rng.integers(0, 9, count)).astype(np.int32)
    values[3] = -(2**31)
    plain, fast = (x.survey(values, cols) for x in (counting, cpu))
    for name in ("rows", "cols", "low", "high", "found"):
        assert np.array_equal(getattr(plain, name), getattr(fast, name)), name
    sides = [rng.integers(0, 4, rows), rng.integers(0, 4, cols), rng.integers(-3, 4, rows), rng.integers(-3, 4, cols)]
    grid = Classes(*sides).grid(count)
    slow, quick = (extremes(values, grid, x) for x in (counting, cpu))
    for name in ("sums", "low", "high"):
        assert np.array_equal(getattr(slow, name), getattr(quick, name)), name


def test_extremes_leave_no_symbol_out() -> None:
    values = rank_two((60, 70), 1.0).reshape(-1)
    classes = ans.model(values, (60, 70)).classes
    grid, shifts = classes.grid(values.size), np.zeros(KEYS >> PHASE_SHIFT, np.int64)
    whole = cpu.tally(values, grid, shifts, np.arange(60))
    part = cpu.tally(values, grid, shifts, np.arange(0, 60, 9))
    extremes(values, grid, cpu).hold(part, shifts)
    last = [
        np.where(x.any(1), x.shape[1] - np.argmax(x[:, ::-1] > 0, axis=1), 0)
        for x in (whole.magnitudes, part.magnitudes)
    ]
    assert np.array_equal(*last)
    assert ((part.signs[:, :, 0] > 0) >= (whole.signs[:, :, 0] > 0)).all()
