"""Selection kernels: compiled and reference equal a stable sort, whatever the tensor."""

from __future__ import annotations

import math
import threading
import tracemalloc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from thinwire.codec import Spec, generator
from thinwire.kernels import select
from thinwire.kernels.select import cpu, reference
from thinwire.kernels.select.candidates import candidates
from thinwire.testing import same_bits
from thinwire.testing.strategies import FLOATS, KINDS, finite, kind

BOTH = pytest.mark.parametrize("kernels", [cpu, reference], ids=["cpu", "reference"])
WORKING = (torch.float32, torch.float64)


def sorted_out(x: Tensor, k: int) -> Tensor:
    """The slow truth: a stable sort by magnitude, so that equal ones stay in order; NaN counts as infinity."""
    magnitude = x.double().abs().nan_to_num(nan=math.inf, posinf=math.inf)
    return magnitude.sort(descending=True, stable=True).indices[:k].sort().values


def large(name: str, dtype: torch.dtype = torch.float32, seed: int = 0, n: int = 70_001) -> Tensor:
    return kind(name, (n,), dtype, seed)


@BOTH
@given(x=finite(), share=st.floats(0, 1))
def test_the_k_largest_are_those_of_a_stable_sort(kernels: object, x: Tensor, share: float) -> None:
    flat = x.reshape(-1)
    k = round(share * flat.numel())
    assert torch.equal(kernels.largest(flat, k), sorted_out(flat, k))  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_large_tensors_of_every_kind_and_dtype(name: str, dtype: torch.dtype) -> None:
    x = large(name, dtype)
    for k in (0, 1, 70, 3500, 35_000, 70_000, 70_001):
        assert torch.equal(cpu.largest(x, k), sorted_out(x, k)), k


@BOTH
@given(kinds=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5000)), max_size=6), data=st.data())
def test_segments_are_selected_from_one_by_one(
    kernels: object, kinds: list[tuple[str, int]], data: st.DataObject
) -> None:
    dtype = data.draw(st.sampled_from(FLOATS))
    parts = [kind(name, (n,), dtype, seed) for seed, (name, n) in enumerate(kinds)]
    x, lengths = torch.cat([*parts, torch.zeros(0, dtype=dtype)]), [len(part) for part in parts]
    counts = [data.draw(st.sampled_from([0, 1, n // 100, n // 2, n]) if n else st.just(0)) for n in lengths]
    before, found = x.clone(), kernels.largest_of_each(x, lengths, counts)  # type: ignore[attr-defined]
    assert len(found) == len(parts)
    assert all(torch.equal(*pair) for pair in zip(found, map(sorted_out, parts, counts), strict=True))
    assert same_bits(x, before)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_large_segments_of_every_kind(dtype: torch.dtype) -> None:
    parts = [kind(name, (20_011,), dtype, 3) for name in KINDS]
    parts[0][[5, 900]] = torch.tensor([math.nan, -math.inf], dtype=dtype)
    for k in (1, 200, 2000, 19_000):
        counts = [k] * len(parts)
        found = select.largest_of_each(torch.cat(parts), [20_011] * len(parts), counts)
        assert all(torch.equal(*pair) for pair in zip(found, map(sorted_out, parts, counts), strict=True))


def test_nan_and_infinity_are_the_largest_and_tie() -> None:
    x = large("normal")
    x[[5, 900, 40_000]] = torch.tensor([math.nan, -math.inf, math.inf])
    x[60_000] = -math.nan
    for k in (2, 3, 4, 5, 700):
        assert torch.equal(cpu.largest(x, k), sorted_out(x, k))
        assert torch.equal(reference.largest(x, k), sorted_out(x, k))
    assert cpu.count_at_least(x, math.inf) == reference.count_at_least(x, math.inf) == 4


@given(x=finite(), threshold=st.floats(0, 1e38) | st.floats(0, 1))
def test_thresholds_are_compared_exactly(x: Tensor, threshold: float) -> None:
    flat = x.reshape(-1)
    expected = (flat.double().abs() >= threshold).nonzero().view(-1)
    for kernels in (cpu, reference):
        assert torch.equal(kernels.at_least(flat, threshold), expected)
        assert kernels.count_at_least(flat, threshold) == len(expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_threshold_between_two_floats_takes_the_upper_one(dtype: torch.dtype) -> None:
    x = large("normal", dtype)
    for exact in x[:50].double().abs().tolist():
        for threshold in (exact, math.nextafter(exact, 2 * exact), math.nextafter(exact, 0)):
            assert cpu.count_at_least(x, threshold) == int((x.double().abs() >= threshold).sum())


@given(x=finite(WORKING), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_accumulating_is_adding_and_selecting(x: Tensor, share: float, seed: int) -> None:
    flat = x.reshape(-1)
    residual = torch.randn(flat.shape, generator=generator(seed), dtype=flat.dtype)
    expected, k, before = residual + flat, round(share * flat.numel()), flat.clone()
    for kernels in (cpu, reference):
        total = residual.clone()
        assert torch.equal(kernels.accumulate_largest(total, flat, k), sorted_out(expected, k))
        assert same_bits(total, expected)
    assert same_bits(flat, before)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", ["normal", "constant", "zeros", "sparse"])
def test_accumulating_large_tensors_in_the_working_dtype(name: str, dtype: torch.dtype) -> None:
    x = large(name, dtype)
    residual = large("normal", Spec.of(x).working, seed=1) * 0.1
    total = residual.clone()
    for k in (0, 70, 7000, 70_001):
        total.copy_(residual)
        assert torch.equal(cpu.accumulate_largest(total, x, k), sorted_out(residual + x, k))
        assert same_bits(total, residual + x)


@given(x=finite(), seed=st.integers(0, 99))
def test_taking_out_reads_and_zeroes(x: Tensor, seed: int) -> None:
    flat = x.reshape(-1)
    chosen = (torch.rand(flat.shape, generator=generator(seed)) < 0.3).nonzero().view(-1)
    for kernels in (cpu, reference):
        left = flat.clone()
        assert same_bits(kernels.take_out(left, chosen), flat[chosen])
        assert same_bits(left, flat.index_fill(0, chosen, 0.0))


def test_columns_that_a_fixed_stride_would_miss() -> None:
    x = torch.zeros(1024, 1024)
    x[:, 7] = torch.randn(1024, generator=generator(0)) + 5
    x[:, 8] = torch.randn(1024, generator=generator(1))
    assert torch.equal(cpu.largest(x.view(-1), 1500), sorted_out(x.view(-1), 1500))


def test_fewer_non_zeros_than_k() -> None:
    x = torch.zeros(2_000_000)
    x[torch.arange(99_500) * 20] = 1 + torch.rand(99_500, generator=generator(0))
    chosen = select.largest(x, 100_000)
    assert torch.equal(chosen, sorted_out(x, 100_000))
    assert int(x[chosen].count_nonzero()) == 99_500


@pytest.mark.slow
def test_more_elements_than_float32_can_count_in_one_bin() -> None:
    x = torch.full((2**24 + 70,), 0.5)
    x[2**24 + 3] = 2.0
    for k in (1, 2, 2**24 + 1):
        chosen = select.largest(x, k)
        assert int(chosen[-1]) == 2**24 + 3
        assert torch.equal(chosen[:-1], torch.arange(k - 1))


def test_small_and_large_tensors_go_to_different_kernels_with_one_result() -> None:
    for n in ((1 << 12) - 1, 1 << 12):
        x = large("ties", n=n)
        assert torch.equal(select.largest(x, n // 20), sorted_out(x, n // 20))


@pytest.mark.parametrize("density", [0.01, 0.05])
def test_extra_memory_is_a_tenth_of_the_tensor_beside_the_result(density: float) -> None:
    x = torch.randn(4_000_000, generator=generator(3))
    total, k = torch.zeros_like(x), int(density * len(x))
    select.accumulate_largest(total, x, k)
    tracemalloc.start()
    indices = select.accumulate_largest(total, x, k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - indices.nbytes < 0.1 * x.nbytes


def test_threads_select_side_by_side() -> None:
    tensors = [large("normal", seed=seed, n=300_000) for seed in range(4)]
    found: dict[int, Tensor] = {}

    def work(i: int) -> None:
        found[i] = select.largest(tensors[i], 3000)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(torch.equal(found[i], sorted_out(tensors[i], 3000)) for i in range(4))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", ["normal", "constant", "zeros", "sparse"])
def test_candidates_hold_the_largest_and_the_sum_is_made_once(name: str, dtype: torch.dtype) -> None:
    for n in (900, 70_001):
        x, residual = large(name, dtype, n=n), large("normal", Spec.of(large(name, dtype)).working, seed=1, n=n) * 0.1
        total, k = residual.clone(), n // 50
        found = candidates(total, k, x)
        assert same_bits(total, residual + x)
        assert set(sorted_out(total, k).tolist()) <= set(found.places.tolist())
        assert torch.equal(found.magnitudes, total[found.places].abs())
