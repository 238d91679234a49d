"""Kernels: the compiled ones equal the torch reference bit for bit, and each does what its name says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from thinwire.errors import WireError
from thinwire.kernels import chunks, cpu, dispatch, distortion, gaps, narrow, permutation, reference, zstd
from thinwire.kernels.raw_bytes import raw_bytes
from thinwire.testing import same_bits
from thinwire.testing.strategies import finite

WORKING = (torch.float32, torch.float64)
ROUGHLY_ALL_INT32 = st.integers(-(2**31), 2**31 - 1) | st.integers(-9, 9)


@given(st.data(), st.integers(1, 16))
def test_packing_equals_the_reference_and_comes_back(data: st.DataObject, bits: int) -> None:
    codes = torch.tensor(data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=200)), dtype=torch.int32)
    packed = reference.pack(codes, bits)
    assert len(packed) == reference.packed_bytes(len(codes), bits)
    assert same_bits(cpu.pack(codes, bits), packed)
    assert same_bits(reference.unpack(packed, bits, len(codes)), codes)
    assert same_bits(cpu.unpack(packed, bits, len(codes)), codes)


@given(finite(WORKING), st.floats(-30, 30), st.floats(0.5, 1.0))
def test_quantizing_equals_the_reference(x: Tensor, exponent: float, threshold: float) -> None:
    assert same_bits(cpu.quantize(x, 10.0**exponent, threshold), reference.quantize(x, 10.0**exponent, threshold))


@given(finite(WORKING), st.floats(-30, 30), st.floats(0.5, 1.0))
def test_errors_of_a_quantizer_equal_the_reference(x: Tensor, exponent: float, threshold: float) -> None:
    step = float(torch.tensor(10.0**exponent, dtype=x.dtype))
    found = reference.squared_error(x, step, threshold)
    assert cpu.squared_error(x, step, threshold) == pytest.approx(found, rel=1e-12, abs=1e-300)
    left, expected = x.clone().contiguous(), x.clone().contiguous()
    cpu.residual_(left, step, threshold)
    reference.residual_(expected, step, threshold)
    assert same_bits(left, expected)
    symbols = reference.quantize(x, 1.0 / step, threshold)
    for bound in (0.5 * step, 0.9 * step, 1e30):
        assert cpu.all_within(x, symbols, step, bound) == reference.all_within(x, symbols, step, bound)


@pytest.mark.parametrize("bits", [1, 7, 8, 16])
def test_dispatch_gives_the_same_bytes_below_and_above_its_threshold(bits: int) -> None:
    codes = torch.arange(40_000, dtype=torch.int32) % 2**bits
    x = torch.linspace(-3, 3, 40_000)
    assert same_bits(dispatch.pack(codes, bits), reference.pack(codes, bits))
    assert same_bits(dispatch.unpack(dispatch.pack(codes, bits), bits, 40_000), codes)
    assert same_bits(dispatch.quantize(x, 100.0, 0.6), reference.quantize(x, 100.0, 0.6))


@given(finite(WORKING), st.floats(1e-6, 1e6), st.floats(0.5, 1.0))
def test_quantize_is_rounding_with_a_dead_zone(x: Tensor, step: float, threshold: float) -> None:
    symbols = reference.quantize(x, 1.0 / step, threshold).double()
    position = x.double().abs() / step
    dead = (position < threshold - 1e-3) & (position < 2**20)
    inside = position < 2**20
    assert not bool(symbols[dead].any())
    assert bool(((symbols.abs() - position).abs() <= threshold + 0.05)[inside & (symbols != 0)].all())


@given(st.lists(ROUGHLY_ALL_INT32, max_size=300), st.integers(1, 3))
def test_chunks_come_back(values: list[int], level: int) -> None:
    array = np.array(values or [0], np.int32)
    assert np.array_equal(chunks.decode(chunks.encode(array, level), array.size), array)


@pytest.mark.parametrize("size", [chunks.CHUNK - 1, chunks.CHUNK, 2 * chunks.CHUNK + 5])
def test_chunks_cover_a_tensor_exactly(size: int) -> None:
    assert sum(chunks.counts(size)) == size
    assert [len(piece) for piece in chunks.split(np.zeros(size, np.int32))] == chunks.counts(size)


@given(st.sets(st.integers(0, 100_000), max_size=100))
def test_gaps_come_back_and_respect_the_limit(indices: set[int]) -> None:
    ascending = np.array(sorted(indices), np.int64)
    data = gaps.encode(gaps.between(ascending))
    assert len(data) == gaps.encoded_bytes(gaps.between(ascending))
    assert np.array_equal(gaps.decode(data, len(indices)), ascending)
    if indices:
        with pytest.raises(WireError, match=f"holds {len(indices)} indices"):
            gaps.decode(data, len(indices) - 1)


def test_a_sparse_chunk_keeps_to_its_size() -> None:
    where = zstd.compress(gaps.encode(np.array([5])))
    chunk = bytes([1]) + len(where).to_bytes(4, "little") + where + bytes([1, 0])
    assert chunks.decode(chunk, 6).tolist() == [0, 0, 0, 0, 0, -1]
    with pytest.raises(WireError, match="a non-zero at 5 in a chunk of 5"):
        chunks.decode(chunk, 5)


@pytest.mark.parametrize("wrong", [[1, 1], [2, 1], [-1, 0], [0, 9]])
def test_owners_refuse_indices_that_do_not_ascend_within_the_limit(wrong: list[int]) -> None:
    with pytest.raises(WireError, match="strictly ascending"):
        gaps.ascending(torch.tensor(wrong), 9, "topk")


@given(st.binary(max_size=2000), st.integers(1, 19))
def test_zstd_comes_back_within_its_limit_and_not_beyond(data: bytes, level: int) -> None:
    packed = zstd.compress(data, level)
    assert zstd.decompress(packed, len(data)) == data
    if data:
        with pytest.raises(WireError, match="larger"):
            zstd.decompress(packed, len(data) - 1)
    for broken in (packed[:-1], packed + b"\0", b"", b"\xff" * 9):
        with pytest.raises(WireError, match="zstd"):
            zstd.decompress(broken, len(data))


@given(st.integers(1, 3000), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_random_subset_is_distinct_within_range_and_a_function_of_its_arguments(
    n: int, part: float, seed: int
) -> None:
    drawn = permutation.random_subset(n, int(n * part), seed)
    assert len(drawn) == int(n * part) == len(set(drawn.tolist()))
    assert not len(drawn) or 0 <= int(drawn.min()) <= int(drawn.max()) < n
    assert torch.equal(drawn, permutation.random_subset(n, int(n * part), seed))


def test_a_random_subset_never_changes() -> None:
    assert permutation.random_subset(1000, 6, 7).tolist() == [171, 629, 410, 826, 461, 109]


def test_a_random_subset_takes_every_element_equally_often() -> None:
    counts = torch.zeros(50)
    for seed in range(4000):
        counts[permutation.random_subset(50, 5, seed)] += 1
    assert bool(((counts - 400).abs() < 6 * (400 * 0.9) ** 0.5).all())


@given(finite(), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_narrowing_never_makes_infinities_of_finite_values(x: Tensor, dtype: torch.dtype) -> None:
    narrowed = narrow.saturate(x, dtype)
    assert narrowed.dtype == dtype
    assert bool(torch.isfinite(narrowed).all())
    plain = x.to(dtype)
    assert same_bits(narrowed[torch.isfinite(plain)], plain[torch.isfinite(plain)])


def test_narrowing_keeps_infinity_and_nan() -> None:
    x = torch.tensor([float("inf"), float("-inf"), float("nan")], dtype=torch.float64)
    assert same_bits(narrow.saturate(x, torch.float16), x.to(torch.float16))


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor(1.5),
        torch.tensor([1.5]).expand(1),
        torch.ones(4, 6)[::2, ::3],
        torch.zeros(0, 3),
        torch.ones(5).bool(),
    ],
    ids=["0-d", "stride 0", "strided", "empty", "bool"],
)
def test_raw_bytes_are_those_of_the_contiguous_tensor(x: Tensor) -> None:
    assert raw_bytes(x).numpy().tobytes() == x.numpy().tobytes()


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_distortion_knows_no_over_or_underflow(scale: float) -> None:
    x = torch.tensor([3.0, -4.0], dtype=torch.float64) * scale
    assert distortion.nmse(x, x * 0.5) == pytest.approx(0.25)
    assert distortion.rms(x) == pytest.approx(12.5**0.5 * scale)
    assert distortion.nmse(x * 0, x) == float("inf")
    assert distortion.nmse(x * 0, x * 0) == 0.0
