"""Symbols as codes of few bits: the compiled loops equal the reference, and chunks of them come back and stay small."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.errors import WireError
from thinwire.kernels import chunks, codes, gaps, zstd
from thinwire.kernels.codes import cpu, reference

SIZES = st.integers(0, 300)
SCALES = st.sampled_from([0.2, 0.8, 2.0, 9.0, 60.0, 1e4, 1e9])
PLAIN, NESTED = {2: 3, 4: 4, 8: 5}, {2: 11, 4: 12, 8: 13}


def drawn(count: int, scale: float, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).laplace(0, scale, count)
    return np.clip(np.rint(values), -(2**31), 2**31 - 1).astype(np.int32)


def shannon_bytes(symbols: np.ndarray) -> float:
    _, counts = np.unique(symbols, return_counts=True)
    return float(-(counts * np.log2(counts / symbols.size)).sum()) / 8


@given(SIZES, SCALES, st.integers(0, 99), st.sampled_from([2, 4, 8]))
def test_compiled_codes_equal_the_reference(count: int, scale: float, seed: int, bits: int) -> None:
    symbols, escape = drawn(count, scale, seed), 2**bits - 1
    cut, reached = reference.cut(symbols)
    same, also = cpu.cut(symbols)
    assert np.array_equal(cut, same)
    assert reached == also
    assert np.array_equal(cpu.places(cut, reached[0]), reference.places(cut, reached[0]))
    packed = reference.pack(cut, bits)
    assert np.array_equal(cpu.pack(cut, bits), packed)
    few = np.minimum(cut, escape).astype(np.uint8)
    assert np.array_equal(reference.unpack(packed, bits, count), few)
    assert np.array_equal(cpu.unpack(packed, bits, count), few)
    escapes = reached[{2: 1, 4: 2, 8: 3}[bits]]
    beyond = reference.beyond(symbols, cut, escape, escapes)
    assert np.array_equal(cpu.beyond(symbols, cut, escape, escapes), beyond)
    whole = codes.unzigzag(codes.zigzag(beyond) + np.uint32(escape))
    assert np.array_equal(reference.joined(few, escape, whole), symbols)
    assert np.array_equal(cpu.joined(few, escape, whole), symbols)


@pytest.mark.parametrize("count", [1, 1 << 12, (1 << 14) + 3, chunks.CHUNK])
@pytest.mark.parametrize("scale", [0.05, 0.3, 0.9, 3.0, 30.0, 90.0, 1e3, 1e8])
def test_chunks_of_every_scale_come_back(scale: float, count: int) -> None:
    symbols = drawn(count, scale)
    assert np.array_equal(chunks.decode(chunks.encode(symbols, 1), count), symbols)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("normal", [False, True], ids=["laplace", "normal"])
def test_a_chunk_is_within_two_percent_of_its_entropy(bits: int, normal: bool) -> None:
    draw = np.random.default_rng(1)
    values = draw.normal(size=chunks.CHUNK) if normal else draw.laplace(size=chunks.CHUNK)
    symbols = np.rint(values * 2**bits / (4.13 if normal else 5.44)).astype(np.int32)
    assert 8 * shannon_bytes(symbols) / symbols.size == pytest.approx(bits, abs=0.1)
    assert len(chunks.encode(symbols, 1)) <= 1.02 * shannon_bytes(symbols)


@pytest.mark.parametrize("scale", [0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.5, 4.0, 8.0, 16.0, 40.0, 100.0, 200.0])
def test_no_rate_between_is_far_from_its_entropy(scale: float) -> None:
    symbols = drawn(chunks.CHUNK, scale)
    assert len(chunks.encode(symbols, 1)) <= 1.035 * shannon_bytes(symbols)


def test_repeats_are_found() -> None:
    symbols = np.tile(drawn(3000, 40.0), 80)
    assert len(chunks.encode(symbols, 1)) < shannon_bytes(symbols) / 20


@pytest.mark.parametrize(("bits", "mode"), PLAIN.items())
def test_escapes_in_a_list_are_read_as_ever(bits: int, mode: int) -> None:
    symbols = drawn(1000, 2.0 ** (bits - 2))
    cut, _ = reference.cut(symbols)
    listed = codes.zigzag(symbols[cut >= 2**bits - 1])
    body = reference.pack(cut, bits).tobytes() + listed.astype("<u4").tobytes()
    assert np.array_equal(chunks.decode(bytes([mode | 0x80]) + body, 1000), symbols)
    with pytest.raises(WireError, match="number of escaped symbols"):
        chunks.decode(bytes([mode | 0x80]) + body + bytes(4), 1000)


@pytest.mark.parametrize(("bits", "mode"), PLAIN.items())
def test_values_of_sparse_chunks_are_read_as_ever(bits: int, mode: int) -> None:
    symbols = drawn(1000, 2.0 ** (bits - 2)) * (np.arange(1000) % 9 == 0)
    values = codes.zigzag(symbols[symbols != 0]) - np.uint32(1)
    where = zstd.compress(gaps.encode(gaps.between(np.flatnonzero(symbols))))
    head = b"\1" + struct.pack("<I", len(where)) + where
    cut = np.minimum(values, 255).astype(np.uint8)
    raw = reference.pack(cut, bits).tobytes() + values[cut >= 2**bits - 1].astype("<u4").tobytes()
    assert np.array_equal(chunks.decode(head + bytes([bits]) + zstd.compress(raw), 1000), symbols)


def nested_of(depth: int) -> bytes:
    """Return four symbols that all escape, as many times as told, at last to zeros."""
    return (bytes([NESTED[2] | 0x80]) + struct.pack("<I", 1) + b"\xff") * depth + b"\0"


def test_chunks_nest_three_deep_and_no_deeper() -> None:
    assert chunks.decode(nested_of(3), 4).tolist() == codes.unzigzag(np.full(4, 9, np.uint32)).tolist()
    with pytest.raises(WireError, match="unknown mode 11"):
        chunks.decode(nested_of(4), 4)


@pytest.mark.parametrize("scale", [0.7, 3.0, 60.0, 0.05])
def test_a_chunk_that_is_cut_anywhere_is_refused(scale: float) -> None:
    data = chunks.encode(drawn(2000, scale), 1)
    for end in range(len(data)):
        with pytest.raises(WireError):
            chunks.decode(data[:end], 2000)
