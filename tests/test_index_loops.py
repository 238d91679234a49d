"""The compiled loops over indices equal the numpy reference, bit for bit, also on what no encoder made."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from index_lists import ascending, clustered, rows, shifting, uniform

from thinwire.kernels.gaps import between
from thinwire.kernels.indices import CODERS, compiled, encode, loops, reference

lists = ascending.filter(len)
contents = arrays(np.uint8, st.integers(1, 60), elements=st.integers(0, 255) | st.sampled_from([0, 1, 128, 255]))


def last(indices: np.ndarray) -> int:
    return int(indices[-1])


@given(indices=lists, at=st.integers(0, 40), bits=st.integers(1, 16))
def test_packing(indices: np.ndarray, at: int, bits: int) -> None:
    packed = compiled.pack(indices, at, bits)
    assert np.array_equal(packed, reference.pack(indices, at, bits))
    fields = indices >> at & (1 << bits) - 1
    assert np.array_equal(compiled.unpack(packed, bits, len(indices)), fields)
    assert np.array_equal(reference.unpack(packed, bits, len(indices)), fields)


@given(indices=lists, width=st.integers(0, 40))
def test_sums_unary_and_gap_bytes(indices: np.ndarray, width: int) -> None:
    gaps = between(indices)
    width = max(width, last(indices).bit_length() - 12)
    high = reference.high_sum(gaps, width)
    assert compiled.high_sum(gaps, width) == high
    bits, most = high + len(gaps), high // 255 + len(gaps)
    assert np.array_equal(compiled.unary(gaps, width, bits), reference.unary(gaps, width, bits))
    assert np.array_equal(compiled.gap_bytes(gaps, width, most), reference.gap_bytes(gaps, width, most))


@given(gaps=st.lists(st.integers(0, 30), min_size=1))
def test_bitmaps(gaps: list[int]) -> None:
    values = np.array(gaps)
    size = int((values + 1).sum() - 1) // 8 + 1
    assert np.array_equal(compiled.bitmap(values, size), reference.bitmap(values, size))


def same(name: str, data: np.ndarray, count: int, *width: int) -> None:
    """Assert that both find as many indices in any bytes, or too many, and the same ones where the count is right."""
    results = []
    for module in (compiled, reference):
        out = np.arange(count) % 3
        results.append((getattr(module, name)(data, *width, out), out))
    (found, out), (expected, truth) = results
    assert found == expected or min(found, expected) > count
    assert found != count or np.array_equal(out, truth)


@given(data=contents, count=st.integers(1, 300), width=st.integers(0, 30))
def test_reading_any_bytes(data: np.ndarray, count: int, width: int) -> None:
    for wanted in {count, int(np.unpackbits(data).sum()) or 1}:
        same("from_unary", data, wanted, width)
        same("from_bitmap", data, wanted)
    data[-1] &= 127
    for wanted in {count, int((data != 255).sum())}:
        same("from_gap_bytes", data, wanted, width)


def by(module: ModuleType, indices: np.ndarray, coder: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(loops, "of", lambda count: module)
    return encode(indices, coder)


@pytest.mark.parametrize("coder", ["smallest", *CODERS])
@pytest.mark.parametrize(
    "indices",
    [uniform(0.01), uniform(0.3), clustered(), rows(0.2), shifting(9000)],
    ids=lambda indices: str(len(indices)),
)
def test_streams_are_the_same(indices: np.ndarray, coder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert by(compiled, indices, coder, monkeypatch) == by(reference, indices, coder, monkeypatch)


def test_long_lists_are_compiled_and_short_ones_not() -> None:
    assert loops.of(loops.WORTH_COMPILING) is compiled
    assert loops.of(loops.WORTH_COMPILING - 1) is reference
