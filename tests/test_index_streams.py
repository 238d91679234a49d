"""Streams of indices that no encoder made: indices as promised, or WireError, in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index_lists import shifting, uniform

from thinwire.errors import WireError
from thinwire.kernels import zstd
from thinwire.kernels.indices import CODERS, MOST, choice, decode, encode

LISTS = {"short": uniform(0.1, 2000), "long": uniform(0.2, 30_000)}
"""One for the reference, one for the compiled loops."""


def is_legal_or_refused(stream: bytes, count: int) -> bool:
    """Return whether the stream was accepted; assert that what it gave is a legal set of indices."""
    try:
        indices = decode(stream, count)
    except WireError:
        return False
    assert indices.shape == (count,)
    assert (np.diff(indices, prepend=-1) > 0).all()
    assert not count or indices[-1] < MOST
    return True


def stream_of(coder: str, indices: np.ndarray) -> bytes:
    return choice.smallest(indices, 12) if coder == "chunks" else encode(indices, coder)


@pytest.mark.parametrize("size", LISTS)
@pytest.mark.parametrize("coder", [*CODERS, "chunks"])
def test_cut_or_lengthened_streams_are_refused(coder: str, size: str) -> None:
    indices = LISTS[size]
    stream = stream_of(coder, indices)
    assert is_legal_or_refused(stream, len(indices))
    lengths = range(len(stream)) if size == "short" else range(0, len(stream), 97)
    assert not any(is_legal_or_refused(stream[:length], len(indices)) for length in lengths)
    assert not is_legal_or_refused(stream + b"\0", len(indices))
    assert not is_legal_or_refused(stream, len(indices) - 1)
    assert not is_legal_or_refused(stream, len(indices) + 1)


RUNS_OF_TWO = b"\x01\0\x80", b"\x01\0\x40"
"""One run, at place 0, that ends with index number 1."""


def runs(count: int, first: int, *lists: bytes) -> bytes:
    return b"\x06" + count.to_bytes(4, "little") + first.to_bytes(4, "little") + b"".join(lists)


@pytest.mark.parametrize(
    ("stream", "count", "reason"),
    [
        (b"", 1, "0 bytes for 1"),
        (b"\0", 0, "1 bytes for 0"),
        (b"\x07\0", 1, "coder 7"),
        (b"\0" + zstd.compress(b"\x07\xff"), 1, "cut short"),
        (b"\0" + zstd.compress(b"\x07\x07"), 1, "at least 2 indices"),
        (b"\0" + zstd.compress(b"\x07"), 2, "holds 1 indices"),
        (b"\0" + zstd.compress(b""), 1, "cut short"),
        (b"\x01", 1, "remainder width"),
        (b"\x01\x2b\0\0\0\0\0\0\x80", 1, "remainder width"),
        (b"\x01\x02\x04\x80", 1, "padding"),
        (b"\x01\x10\0", 1, "remainders are cut short"),
        (b"\x01\x00\x80\0", 1, "bytes follow"),
        (b"\x01\x00", 1, "cut short"),
        (b"\x01\x00\xc0", 1, "at least 2 indices"),
        (b"\x01\x28" + b"\0" * 5 + b"\x40", 1, "or more"),
        (b"\x01\x28" + b"\0" * 5 + b"\0" * (1 << 20) + b"\x80", 1, "or more"),  # 2**63: negative if summed first
        (b"\x01\x28" + b"\xff" * 10 + b"\xc0", 2, "or more"),
        (b"\x02" + zstd.compress(b""), 1, "at the last index"),
        (b"\x02" + zstd.compress(b"\x01\0"), 1, "at the last index"),
        (b"\x02" + zstd.compress(b"\x01\x01"), 1, "at least 2 indices"),
        (b"\x02" + zstd.compress(b"\x03"), 1, "at least 2 indices"),
        (b"\x04\x01\0\x05\xf0", 1, "padding"),
        (b"\x04\x01\0\x05", 1, "cut short"),
        (b"\x04\x05\0", 1, "cut short"),
        (b"\x04\x02\0\x05\0", 1, "blocks of 2 indices"),
        (b"\x04\x01\0\0\0\x05\0", 1, "blocks of 1 indices"),
        (b"\x04\x02\0\x05\x50\0", 2, "not strictly ascending"),
        (b"\x05", 1, "remainder width"),
        (b"\x05\x2b\0\0\0\0\0\0" + zstd.compress(b"\0"), 1, "remainder width"),
        (b"\x05\x02\x04" + zstd.compress(b"\0"), 1, "padding"),
        (b"\x05\x02\x00", 1, "zstd"),
        (b"\x05\x28" + b"\0" * 5 + zstd.compress(b"\x01"), 1, "or more"),
        (b"\x05\x2a" + b"\0" * 6 + zstd.compress(b"\xff" * 4000 + b"\0"), 1, "or more"),
        (b"\x05\x02\x00" + zstd.compress(b"\0\0"), 1, "at least 2 indices"),
        (b"\x06\x01\0\0", 2, "runs are cut short"),
        (runs(0, 3, *RUNS_OF_TWO), 2, "0 runs"),
        (runs(3, 3, *RUNS_OF_TWO), 2, "3 runs"),
        (runs(1, 3, *RUNS_OF_TWO), 3, "runs of 2 indices, expected 3"),
        (runs(1, 2, *RUNS_OF_TWO), 2, "cut short"),
        (runs(1, 7, *RUNS_OF_TWO), 2, "at least 3 indices"),
        (runs(1, 3, RUNS_OF_TWO[0]), 2, "coder none"),
        (runs(1, 16, runs(1, 3, *RUNS_OF_TWO), RUNS_OF_TWO[1]), 2, "coder 6"),
        (runs(1, 8, b"\x01\x28" + b"\xff" * 5 + b"\x80", RUNS_OF_TWO[1]), 2, "or more"),
        (b"\x03", 1, "chunks of"),
        (b"\x03\x0b\x01\0\x80", 1, "chunks of 2\\*\\*11"),
        (b"\x03\x19\x01\0\x80", 1, "chunks of 2\\*\\*25"),
        (b"\x03\x0c\x01\0", 4097, "lengths of the chunks"),
        (b"\x03\x0c\xff\xff\xff\xff\x01\0\x80", 4097, "longer than the stream"),
        (b"\x03\x0c\x02\0\0\0\x01\0\x80", 4097, "cut short"),
        (b"\x03\x0c\x03\x0c\x01\0\x80", 1, "coder 3"),
    ],
)
def test_illegal_streams_are_refused(stream: bytes, count: int, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode(stream, count)


def test_chunks_that_pass_the_last_place_are_refused() -> None:
    far = encode(np.arange(MOST - 4096, MOST), "smallest")
    stream = b"\x03\x0c" + len(far).to_bytes(4, "little") + far + b"\x01\0\x80"
    assert is_legal_or_refused(b"\x03\x0c" + far, 4096)
    with pytest.raises(WireError, match="or more"):
        decode(stream, 4097)


def test_runs_of_two_are_legal() -> None:
    assert decode(runs(1, 3, *RUNS_OF_TWO), 2).tolist() == [0, 1]


@pytest.mark.parametrize(("size", "mutations"), [("short", 3000), ("long", 1000)])
@pytest.mark.parametrize("coder", [*CODERS, "chunks"])
def test_mutated_streams_give_indices_or_wire_error(coder: str, size: str, mutations: int) -> None:
    generator = np.random.default_rng(3)
    indices = LISTS[size] if coder != "chunks" else shifting(3000)
    stream = np.frombuffer(stream_of(coder, indices), np.uint8)
    for _ in range(mutations):
        mutated = stream.copy()
        most = len(stream) if generator.random() < 0.5 else min(len(stream), 24)
        at = generator.integers(0, most, 1 + generator.integers(0, 3))
        mutated[at] = generator.integers(0, 256, len(at))
        is_legal_or_refused(mutated.tobytes(), len(indices))


@given(coder=st.integers(0, 8), data=st.binary(max_size=80), count=st.integers(0, 300) | st.integers(4000, 5000))
def test_random_bytes_give_indices_or_wire_error(coder: int, data: bytes, count: int) -> None:
    is_legal_or_refused(bytes([coder]) + data, count)


@given(coder=st.sampled_from([0, 2]), content=st.binary(max_size=80), count=st.integers(1, 80))
def test_random_content_within_zstd_gives_indices_or_wire_error(coder: int, content: bytes, count: int) -> None:
    is_legal_or_refused(bytes([coder]) + zstd.compress(content), count)


@pytest.mark.parametrize("head", [b"\x00", b"\x02", b"\x05\x00", b"\x03\x0c\x00", b"\x03\x0c\x05\x00"])
@pytest.mark.parametrize("fill", [0, 1, 255])
def test_memory_is_bounded_by_the_count_and_the_stream(head: bytes, fill: int) -> None:
    bomb = head + zstd.compress(np.full(1 << 26, fill, np.uint8))
    assert len(bomb) < 1 << 13
    assert refused_bytes(bomb, 100) < 1 << 18


@pytest.mark.parametrize("count", [1000, 1 << 20])
@pytest.mark.parametrize("coder", CODERS)
def test_memory_is_bounded_for_many_indices(coder: str, count: int) -> None:
    stream = bytes([CODERS[coder].number]) + bytes(64)
    assert refused_bytes(stream, count) < 40 * count + (1 << 18)


def refused_bytes(stream: bytes, count: int) -> int:
    """Return the bytes allocated at the peak of refusing a stream."""
    assert not is_legal_or_refused(stream, count)
    tracemalloc.start()
    with pytest.raises(WireError):
        decode(stream, count)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak_bytes


@pytest.mark.parametrize("width", [0, 16, 40, 41, 42, 63, 255])
def test_widths_cannot_overflow(width: int) -> None:
    for count in (1, 9, 1000, 5000):
        low = bytes([width]) + b"\xff" * ((count * width + 7) // 8)
        for unary in (b"\xff" * 200, b"\0" * 4000 + b"\xff" * (count // 8 + 1)):
            is_legal_or_refused(b"\x01" + low + unary, count)
        for high in (b"\xff" * 4000 + b"\0" * count, b"\xfe" * count):
            is_legal_or_refused(b"\x05" + low + zstd.compress(high), count)
