"""Huffman: lossless, as small as the ideal code, the same bits compiled or not, and deaf to hostile streams."""

from __future__ import annotations

import heapq
import subprocess
import sys
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import thinwire.codecs.raw  # noqa: F401  (the codec that replaces one which would grow a tensor)
from thinwire.codec import Spec, decode, encode
from thinwire.codecs.huffman import Huffman, pack_lengths, unpack_lengths
from thinwire.errors import WireError
from thinwire.kernels import huffman as kernel

INT32 = st.integers(-(2**31), 2**31 - 1)
SMALL = st.integers(-4, 4)


def stream_of(values: np.ndarray) -> bytes:
    return Huffman().to_parts(torch.from_numpy(values), 0, {})[0]["stream"].numpy().tobytes()


def read(stream: bytes, shape: tuple[int, ...]) -> torch.Tensor:
    part = torch.from_numpy(np.frombuffer(stream, np.uint8).copy())
    return Huffman().from_parts({"stream": part}, Spec(shape, torch.int32), 0)


def laplace(scale: float, count: int) -> np.ndarray:
    return np.random.default_rng(5).laplace(0, scale, count).round().astype(np.int32)


def zigzag(values: np.ndarray) -> np.ndarray:
    return np.where(values < 0, -2 * values.astype(np.int64) - 1, 2 * values.astype(np.int64))


def ideal_bits(counts: np.ndarray) -> int:
    """Bits of Huffman's code without a length limit: the sum of the inner nodes of his tree."""
    heap = sorted(int(count) for count in counts if count)
    total = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, joined)
        total += joined
    return total


def reference_words(lengths: np.ndarray) -> dict[int, str]:
    """The canonical words as text: counted up in order of length, then symbol, shifted where the length grows."""
    used = sorted((int(length), symbol) for symbol, length in enumerate(lengths) if length)
    words, word, last = {}, -1, 0
    for length, symbol in used:
        word = word + 1 << length - last
        words[symbol], last = format(word, f"0{length}b"), length
    return words if len(used) > 1 else {used[0][1]: ""}


def reference_bits(symbols: np.ndarray, lengths: np.ndarray) -> str:
    words = reference_words(lengths)
    bits = "".join(words[symbol] for symbol in symbols.tolist())
    return bits + "0" * (-len(bits) % 8)


@given(values=st.lists(SMALL) | st.lists(INT32) | st.lists(SMALL | INT32))
def test_round_trip(values: list[int]) -> None:
    x = torch.tensor(values, dtype=torch.int32)
    before = x.clone()
    y = decode(encode(Huffman(), x))
    assert torch.equal(y, before)
    assert torch.equal(x, before)
    assert torch.equal(read(stream_of(x.numpy()), (len(values),)), before)


@pytest.mark.parametrize("count", [1, 2, 7, 16381, 16411, 100_003])
@pytest.mark.parametrize("scale", [0.0, 0.5, 20.0, 1e8])
def test_round_trip_of_sizes_and_scales(count: int, scale: float) -> None:
    values = laplace(scale, count)
    assert np.array_equal(read(stream_of(values), (count,)).numpy(), values)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5, 7), (2, 3, 5)])
def test_round_trip_of_shapes(shape: tuple[int, ...]) -> None:
    x = torch.from_numpy(laplace(99.0, Spec(shape, torch.int32).numel)).reshape(shape)
    assert torch.equal(read(stream_of(x.numpy()), shape), x)


def test_strided_tensors() -> None:
    x = torch.arange(-50, 50, dtype=torch.int32).reshape(10, 10).T[::2]
    assert torch.equal(decode(encode(Huffman(), x)), x)


def test_extremes() -> None:
    values = np.array([-(2**31), 2**31 - 1, -128, 128, -127, 127, 0, -1], np.int32)
    assert np.array_equal(read(stream_of(values), (8,)).numpy(), values)


@pytest.mark.parametrize("count", [1, 1000, 1 << 20])
def test_one_distinct_value_costs_its_table(count: int) -> None:
    assert stream_of(np.zeros(count, np.int32)) == b"\x00\x01"
    assert not read(b"\x00\x01", (count,)).any()


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0, 20.0])
def test_size_is_that_of_the_ideal_code(scale: float) -> None:
    values = laplace(scale, 1 << 18)
    symbols = np.minimum(zigzag(values), 255)
    ideal_bytes = ideal_bits(np.bincount(symbols)) / 8 + 4 * int((symbols == 255).sum())
    assert len(stream_of(values)) <= 1.015 * ideal_bytes


@pytest.mark.parametrize("scale", [0.0, 0.4, 3.0, 60.0])
def test_plain_and_compiled_loops_equal_the_reference(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = np.minimum(zigzag(laplace(scale, 5003)), 255).astype(np.uint8)
    for worth in (0, 1 << 30):
        monkeypatch.setattr(kernel, "_WORTH_COMPILING", worth)
        lengths, packed = kernel.encode(symbols)
        expected = reference_bits(symbols, lengths)
        assert "".join(f"{byte:08b}" for byte in packed) == expected
        decoded, used_bits = kernel.decode(packed, lengths, len(symbols))
        assert np.array_equal(decoded, symbols)
        assert -(-used_bits // 8) == len(packed)


@given(counts=st.lists(st.integers(0, 9) | st.integers(0, 2**40), min_size=1, max_size=256).filter(any))
def test_code_lengths_form_a_complete_short_code(counts: list[int]) -> None:
    lengths = kernel.code_lengths(np.array(counts))
    used = [int(length) for length in lengths if length]
    assert len(used) == sum(count > 0 for count in counts)
    assert used == [1] or sum(Fraction(1, 2**length) for length in used) == 1
    assert max(used) <= kernel.MAX_BITS


def test_deep_trees_are_limited_at_little_cost() -> None:
    counts = [1, 1]
    while len(counts) < 40:
        counts.append(counts[-1] + counts[-2])
    lengths = kernel.code_lengths(np.array(counts))
    assert lengths.max() == kernel.MAX_BITS
    assert int(lengths @ np.array(counts)) <= 1.001 * ideal_bits(np.array(counts))


@given(lengths=st.lists(st.just(0) | st.integers(0, 15), min_size=1, max_size=256).filter(lambda found: found[-1] > 0))
def test_table_round_trip(lengths: list[int]) -> None:
    padded = np.array(lengths + [0] * (256 - len(lengths)), np.uint8)
    packed = pack_lengths(padded)
    read_back, table_bytes = unpack_lengths(np.append(packed, np.uint8(77)))
    assert np.array_equal(read_back, padded)
    assert table_bytes == len(packed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_other_tensors_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="int32"):
        Huffman().to_parts(torch.zeros(3, dtype=dtype), 0, {})
    with pytest.raises(WireError):
        Huffman().from_parts({"stream": torch.tensor([0, 1], dtype=torch.uint8)}, Spec((3,), dtype), 0)


def is_tensor_or_refused(stream: bytes, count: int) -> bool:
    try:
        x = read(stream, (count,))
    except WireError:
        return False
    assert x.shape == (count,)
    assert x.dtype == torch.int32
    return True


@pytest.mark.parametrize("scale", [0.0, 1.0, 90.0])
@pytest.mark.parametrize("count", [301, 20_011])
def test_cut_or_lengthened_streams_are_refused(scale: float, count: int) -> None:
    stream = stream_of(laplace(scale, count))
    cuts = range(len(stream)) if count < 1000 else range(0, len(stream), 1999)
    assert not any(is_tensor_or_refused(stream[:length], count) for length in cuts)
    assert not is_tensor_or_refused(stream + b"\0", count)
    assert not is_tensor_or_refused(stream + b"\0\0\0\0", count)
    assert scale == 0.0 or not any(is_tensor_or_refused(stream, other) for other in (0, count - 30, count + 30))


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"", "cut short"),
        (b"\x01\x01", "cut short"),
        (b"\x00\x11", "last symbol"),  # padding of the table
        (b"\x01\x10", "last symbol"),  # a run of zeros past the end
        (b"\x00\x02", "prefix code"),  # a lone symbol of two bits
        (b"\x02\x11\x01", "prefix code"),  # three words of one bit
        (b"\x01\x22", "prefix code"),  # half of all words are missing
        (b"\x01\x11", "elements"),  # no words
        (b"\x01\x11\x80\x01", "elements"),  # a byte too many
        (b"\x01\x11\x81", "padding bits"),
        (b"\xff" + b"\xf0" * 15 + b"\xe0\x01", "elements"),  # escaped without a value
        (b"\xff" + b"\xf0" * 15 + b"\xe0\x01\xfe\0\0\0", "small enough"),
    ],
)
def test_illegal_streams_are_refused(stream: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        read(stream, (1,))


@pytest.mark.parametrize("scale", [0.5, 60.0])
def test_mutated_streams_give_a_tensor_or_wire_error(scale: float) -> None:
    generator = np.random.default_rng(3)
    stream = np.frombuffer(stream_of(laplace(scale, 211)), np.uint8)
    for _ in range(3000):
        mutated = stream.copy()
        at = generator.integers(0, len(stream), 1 + generator.integers(0, 3))
        mutated[at] = generator.integers(0, 256, len(at))
        is_tensor_or_refused(mutated.tobytes(), 211)


def test_mutated_long_streams_give_a_tensor_or_wire_error() -> None:
    generator = np.random.default_rng(3)
    stream = np.frombuffer(stream_of(laplace(60.0, 16_411)), np.uint8)
    for _ in range(1000):
        mutated = stream.copy()
        at = generator.integers(0, 200, 2)
        mutated[at] = generator.integers(0, 256, len(at))
        is_tensor_or_refused(mutated.tobytes()[: generator.integers(200, len(stream) + 1)], 16_411)


@given(data=st.binary(max_size=80), count=st.integers(0, 300))
def test_random_bytes_give_a_tensor_or_wire_error(data: bytes, count: int) -> None:
    is_tensor_or_refused(data, count)


@given(lengths=st.permutations([1, 2, 3, 3]), data=st.binary(max_size=9), count=st.integers(1, 40))
def test_random_words_give_a_tensor_or_wire_error(lengths: list[int], data: bytes, count: int) -> None:
    padded = np.array(lengths + [0] * 252, np.uint8)
    is_tensor_or_refused(pack_lengths(padded).tobytes() + data, count)


def test_memory_is_bounded_by_the_elements_and_the_stream() -> None:
    stream = stream_of(laplace(3.0, 1 << 17))
    read(stream, (1 << 17,))
    tracemalloc.start()
    read(stream, (1 << 17,))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 16 * (1 << 17) + (1 << 18)


def test_short_tensors_do_not_load_the_compiler() -> None:
    code = (
        "import sys, torch; from thinwire.codecs.huffman import Huffman;"
        "Huffman().to_parts(torch.arange(9).int(), 0, {}); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
