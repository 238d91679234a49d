"""Ans: lossless, at the entropy that rows and columns leave, the same bytes compiled or not."""

from __future__ import annotations

import math
from pathlib import Path

import ans_page
import numpy as np
import pytest
import torch
from ans_symbols import entropy_bits, made, product, rank_two
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.codec import Spec, decode, encode
from thinwire.codecs.ans import Ans
from thinwire.kernels import ans
from thinwire.kernels.ans import blocks, stream
from thinwire.kernels.ans.choice import without_context
from thinwire.wire import loads_any

INT32 = st.integers(-(2**31), 2**31 - 1)
SMALL = st.integers(-4, 4)
SHAPES = [(), (0,), (3, 0), (1,), (7,), (5, 7), (2, 3, 5), (1, 1100), (1100, 1), (40, 30), (8, 5, 6, 6), (1, 20_000)]
KINDS = ("zeros", "constant", "ones", "narrow", "broad", "wide", "distinct", "rare", "positive", "extremes", "random")


@given(values=st.lists(SMALL) | st.lists(INT32) | st.lists(SMALL | INT32))
def test_round_trip(values: list[int]) -> None:
    x = torch.tensor(values, dtype=torch.int32)
    before = x.clone()
    encoded = Ans().to_parts(x, 0, {})[0]
    assert torch.equal(Ans().from_parts(encoded, Spec.of(x), 0), before)
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_of_shapes_and_kinds(kind: str, shape: tuple[int, ...]) -> None:
    values = made(kind, shape)
    data = ans.encode(values, shape)
    assert np.array_equal(ans.decode(data, shape), values)
    assert len(data) <= 4.2 * values.size + 64


@settings(max_examples=30)
@given(
    rows=st.integers(1, 50),
    cols=st.integers(1, 50),
    deep=st.integers(1, 3),
    scale=st.sampled_from([0.1, 1.0, 30.0, 1e5]),
    seed=st.integers(0, 99),
)
def test_round_trip_of_ordered_tensors(rows: int, cols: int, deep: int, scale: float, seed: int) -> None:
    values = product((rows, cols * deep), scale, seed)[0].reshape(-1)
    for shape in ((rows, cols * deep), (rows, cols, deep)):
        assert np.array_equal(ans.decode(ans.encode(values, shape), shape), values)


def test_round_trip_with_every_class_and_a_shift() -> None:
    values = rank_two((300, 400), 2.5)
    flat = values.reshape(-1)
    model = ans.model(flat, values.shape)
    assert model.tables.shifts.any()
    assert len(model.tables.groups) > 29
    assert np.array_equal(ans.decode(ans.encode(flat, values.shape), values.shape), flat)


def test_strided_tensors() -> None:
    x = torch.arange(-50, 50, dtype=torch.int32).reshape(10, 10).T[::2]
    assert torch.equal(decode(encode(Ans(), x)), x)


@pytest.mark.parametrize("shape", [(1,), (30, 50), (1 << 20,), (16, 4, 3, 3)])
def test_zeros_are_one_byte(shape: tuple[int, ...]) -> None:
    assert ans.encode(np.zeros(math.prod(shape), np.int32), shape) == b"\0"


@pytest.mark.parametrize("shape", [(7,), (300,), (40, 60), (33, 129), (5, 6, 50), (70, 70)])
@pytest.mark.parametrize("scale", [0.2, 3.0, 2000.0])
def test_plain_and_compiled_loops_make_the_same_bytes(
    shape: tuple[int, ...], scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = product((shape[0], math.prod(shape[1:])), scale)[0].reshape(-1)
    made_by = []
    for worth in (0, 1 << 30):
        monkeypatch.setattr(blocks, "_WORTH_COMPILING", worth)
        made_by.append(ans.encode(values, shape))
        assert np.array_equal(ans.decode(made_by[0], shape), values)
    assert made_by[0] == made_by[1]


def independent(name: str, bits: int, count: int = 1 << 20) -> np.ndarray:
    """Return i.i.d. symbols of a quantizer of so many bits over 8 deviations (4 at 4 bits, 3 levels at 2)."""
    rng = np.random.default_rng(5)
    x = {"laplace": rng.laplace(0, 0.5**0.5, count), "normal": rng.standard_normal(count)}[name]
    most, span = {2: (1, 1.2), 4: (7, 4), 8: (127, 8)}[bits]
    return np.clip((x * most / span).round(), -most, most).astype(np.int32)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("name", ["laplace", "normal"])
@pytest.mark.parametrize("shape", [(1 << 20,), (1 << 10, 1 << 10)])
def test_independent_symbols_take_their_entropy(name: str, bits: int, shape: tuple[int, ...]) -> None:
    values = independent(name, bits)
    assert 8 * len(ans.encode(values, shape)) <= 1.003 * entropy_bits(values)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("low", [-1, 0])
def test_symbols_of_any_histogram_take_their_entropy(bits: int, low: int) -> None:
    rng = np.random.default_rng(bits)
    shares = rng.dirichlet(np.full(1 << bits, 0.5))
    values = (rng.choice(1 << bits, 1 << 20, p=shares) + (low << bits - 1)).astype(np.int32)
    assert 8 * len(ans.encode(values, (1 << 20,))) <= 1.003 * entropy_bits(values)


@pytest.mark.parametrize("kept", [0.1, 0.01, 0.001])
def test_sparse_symbols_take_their_entropy(kept: float) -> None:
    rng = np.random.default_rng(1)
    values = ((rng.random(1 << 20) < kept) * rng.choice([-1, 1], 1 << 20)).astype(np.int32)
    assert 8 * len(ans.encode(values, (1 << 20,))) <= 1.02 * entropy_bits(values)


def laplace_bits(values: np.ndarray, scales: np.ndarray) -> float:
    """Return the bits of symbols whose distribution is known, each at its own scale."""

    def below(x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, np.exp(np.minimum(x, 0)) / 2, 1 - np.exp(-np.maximum(x, 0)) / 2)

    mass = below((values + 0.5) / scales) - below((values - 0.5) / scales)
    return float(-np.log2(np.maximum(mass, 1e-12)).sum())


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_classes_come_close_to_knowing_every_scale(scale: float) -> None:
    values, scales = product((500, 700), scale)
    coded = 8 * len(ans.encode(values.reshape(-1), values.shape))
    assert coded <= 1.03 * laplace_bits(values, scales) + 8 * 700
    assert coded <= 0.95 * entropy_bits(values)


def test_signs_that_agree_with_their_row_and_column_are_nearly_free() -> None:
    rng = np.random.default_rng(4)
    expected = rng.choice([-1, 1], (400, 1)) * rng.choice([-1, 1], 300)
    magnitudes = np.abs(rng.laplace(0, 0.6, expected.shape).round())
    agreeing = magnitudes * expected * np.where(rng.random(expected.shape) < 0.05, -1, 1)
    random = magnitudes * rng.choice([-1, 1], expected.shape)
    sizes = [8 * len(ans.encode(x.astype(np.int32).reshape(-1), x.shape)) for x in (agreeing, random)]
    saved = np.count_nonzero(magnitudes) * (1 - 0.2864)
    assert sizes[1] - sizes[0] >= 0.9 * saved - 8 * 700 / 4


def test_signs_of_rank_two_are_known_by_their_angle() -> None:
    values = rank_two((300, 400), 0.0)
    expected = len(ans.encode(values.reshape(-1), values.shape))
    signs = np.random.default_rng(1).choice([-1, 1], values.shape)
    random = len(ans.encode((values * signs).astype(np.int32).reshape(-1), values.shape))
    assert 8 * (random - expected) >= 0.55 * np.count_nonzero(values)


def test_rows_and_columns_of_zeros_cost_almost_nothing() -> None:
    rng = np.random.default_rng(2)
    values = np.zeros((20_000, 64), np.int32)
    live = rng.choice(20_000, 300, replace=False)
    values[live, :50] = rng.laplace(0, 3, (300, 50)).round()
    alone = len(ans.encode(values[live, :50].reshape(-1), (300, 50)))
    naming_bytes = 20_000 * 0.113 / 8  # the entropy of which rows are alive
    assert len(ans.encode(values.reshape(-1), values.shape)) <= alone + 1.1 * naming_bytes + 60


@settings(max_examples=25)
@given(rows=st.integers(2, 70), cols=st.integers(2, 70), scale=st.floats(0.05, 20), seed=st.integers(0, 99))
def test_context_is_never_worse_than_none(rows: int, cols: int, scale: float, seed: int) -> None:
    values = np.random.default_rng(seed).laplace(0, scale, rows * cols).round().astype(np.int32)
    if values.any():
        plain = 1 + len(stream.write(values, without_context(values)[0], False))
        assert len(ans.encode(values, (rows, cols))) <= plain + 2


def test_a_convolution_is_coded_by_the_channels_that_tell_more() -> None:
    rng = np.random.default_rng(6)
    scales = np.exp(2 * rng.standard_normal((1, 40, 3, 3))) * 0.3
    shape = (48, 40, 3, 3)
    by_inputs = (rng.laplace(0, 1, shape) * scales).round().astype(np.int32)
    by_outputs = np.ascontiguousarray(by_inputs.swapaxes(0, 1))
    sizes = [len(ans.encode(x.reshape(-1), x.shape)) for x in (by_inputs, by_outputs)]
    assert abs(sizes[0] - sizes[1]) <= 0.01 * sizes[0]


@pytest.mark.parametrize("name", sorted(path.stem for path in (Path(__file__).parent / "golden/good").glob("ans-*")))
def test_streams_are_what_the_page_says(name: str) -> None:
    encoded = loads_any((Path(__file__).parent / f"golden/good/{name}.twf").read_bytes())["x"]
    data = encoded.parts["stream"].numpy().tobytes()
    assert np.array_equal(ans_page.decoded(data, encoded.spec.shape), decode(encoded).reshape(-1).numpy())


@pytest.mark.parametrize("shape", [(1500, 1501), (3, 700_001), (2_100_000,), (1100, 50, 21)])
def test_many_blocks_without_classes(shape: tuple[int, ...]) -> None:
    symbols = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    encoded = encode(Ans(), symbols)
    assert torch.equal(decode(encoded), symbols)
    assert 8 * encoded.payload_bytes < 1.001 * symbols.numel() * math.log2(7)
