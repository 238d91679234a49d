"""Indices: lossless, close to the combinatorial bound, and deaf to hostile streams."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import thinwire.codecs.raw  # noqa: F401  (the codec that replaces one which would grow a tensor)
from thinwire.codec import Spec, decode, encode
from thinwire.codecs.integers import Indices
from thinwire.errors import WireError
from thinwire.kernels import indices as kernel
from thinwire.kernels import zstd

CODERS = ("gaps", "rice", "bitmap", "smallest")
ALONE = {"gaps": 0, "rice": 1, "bitmap": 2}


def stream_of(indices: np.ndarray, coder: str = "smallest") -> torch.Tensor:
    return Indices(coder).to_parts(torch.from_numpy(indices), 0, {})[0]["stream"]


def read(stream: bytes, count: int) -> np.ndarray:
    part = torch.from_numpy(np.frombuffer(stream, np.uint8).copy())
    spec = Spec((count,), torch.int64)
    return Indices().from_parts({"stream": part}, spec, 0).numpy()


def random_support(density: float, places: int = 1 << 20) -> np.ndarray:
    return np.flatnonzero(np.random.default_rng(7).random(places) < density)


def clustered_support(places: int = 1 << 20) -> np.ndarray:
    generator = np.random.default_rng(7)
    hot = np.repeat(generator.random(places // 1024) < 0.2, 1024)
    return np.flatnonzero(hot & (generator.random(places) < 0.1))


def bound_bytes(indices: np.ndarray, places: int = 1 << 20) -> float:
    """log2 C(n, k): what a uniformly random support needs."""
    k = len(indices)
    nats = math.lgamma(places + 1) - math.lgamma(k + 1) - math.lgamma(places - k + 1)
    return nats / math.log(2) / 8


@pytest.mark.parametrize("coder", CODERS)
@given(
    values=st.sets(st.integers(0, 300))
    | st.sets(st.integers(0, 2**40 - 1))
    | st.sets(st.integers(2**40 - 9, 2**40 - 1))
)
def test_round_trip(coder: str, values: set[int]) -> None:
    x = torch.tensor(sorted(values), dtype=torch.int64)
    before = x.clone()
    y = decode(encode(Indices(coder), x))
    assert y.dtype == torch.int64
    assert torch.equal(y, before)
    assert torch.equal(x, before)


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("density", [1.0, 0.5, 0.05, 0.002])
def test_round_trip_of_long_supports(coder: str, density: float) -> None:
    indices = random_support(density)
    assert np.array_equal(read(stream_of(indices, coder).numpy().tobytes(), len(indices)), indices)


def test_nothing_is_no_byte() -> None:
    assert stream_of(np.empty(0, np.int64)).numel() == 0
    assert read(b"", 0).size == 0


@pytest.mark.parametrize(("density", "most"), [(0.05, 1.015), (0.01, 1.05), (0.01, 1.01)])
def test_random_supports_come_close_to_the_bound(density: float, most: float) -> None:
    indices = random_support(density)
    stream = stream_of(indices)
    assert stream[0] == ALONE["rice"]
    assert len(stream) <= most * bound_bytes(indices)


def test_clustered_supports_beat_the_bound_by_gaps() -> None:
    indices = clustered_support()
    stream = stream_of(indices)
    assert stream[0] == ALONE["gaps"]
    assert len(stream) < 0.9 * bound_bytes(indices)
    assert len(stream) < 0.9 * len(stream_of(indices, "rice"))


def test_dense_supports_by_bitmap() -> None:
    indices = random_support(0.3)
    assert stream_of(indices)[0] == ALONE["bitmap"]
    assert len(stream_of(np.arange(1 << 20))) < 64


@given(values=st.sets(st.integers(0, 5000), min_size=1))
def test_smallest_is_the_smallest(values: set[int]) -> None:
    indices = np.array(sorted(values))
    assert len(stream_of(indices)) == min(len(stream_of(indices, coder)) for coder in ALONE)


@pytest.mark.parametrize("coder", CODERS)
def test_far_indices_fall_back_to_rice(coder: str) -> None:
    stream = stream_of(np.array([5, 2**40 - 1]), coder)
    assert stream[0] == ALONE["rice"]
    assert len(stream) < 16


@pytest.mark.parametrize("values", [[-1], [3, 3], [4, 3], [2**40], [0, -(2**63)], [0, 2**63 - 1]])
def test_other_integers_are_refused(values: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        stream_of(np.array(values))


@pytest.mark.parametrize("x", [torch.zeros(3), torch.zeros(3, dtype=torch.int32), torch.zeros(1, 1, dtype=torch.int64)])
def test_other_tensors_are_refused(x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="1-D int64"):
        Indices().to_parts(x, 0, {})


def test_unknown_coder_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'rice'"):
        Indices("rise")  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", [Spec((3,), torch.int32), Spec((1, 3), torch.int64), Spec((), torch.int64)])
def test_other_schemas_are_refused(spec: Spec) -> None:
    with pytest.raises(WireError):
        Indices().from_parts({"stream": stream_of(np.arange(3))}, spec, 0)


def is_legal_or_refused(stream: bytes, count: int) -> bool:
    """Return whether the stream was accepted; assert that what it gave is a legal set of indices."""
    try:
        indices = read(stream, count)
    except WireError:
        return False
    assert indices.shape == (count,)
    assert (np.diff(indices, prepend=-1) > 0).all()
    assert not count or indices[-1] < kernel.MOST
    return True


@pytest.mark.parametrize("coder", ALONE)
def test_cut_or_lengthened_streams_are_refused(coder: str) -> None:
    indices = random_support(0.1, 2000)
    stream = stream_of(indices, coder).numpy().tobytes()
    assert is_legal_or_refused(stream, len(indices))
    assert not any(is_legal_or_refused(stream[:length], len(indices)) for length in range(len(stream)))
    assert not is_legal_or_refused(stream + b"\0", len(indices))
    assert not is_legal_or_refused(stream, len(indices) - 1)
    assert not is_legal_or_refused(stream, len(indices) + 1)


@pytest.mark.parametrize(
    ("stream", "count", "reason"),
    [
        (b"", 1, "0 bytes for 1"),
        (b"\0", 0, "1 bytes for 0"),
        (b"\x03\0", 1, "coder 3"),
        (b"\0" + zstd.compress(b"\x07\xff"), 1, "cut short"),
        (b"\0" + zstd.compress(b"\x07\x07"), 1, "holds 2 indices"),
        (b"\x01", 1, "remainder width"),
        (b"\x01\x2b\0\0\0\0\0\0\x80", 1, "remainder width"),
        (b"\x01\x02\x04\x80", 1, "padding"),
        (b"\x01\x10\0", 1, "remainders are cut short"),
        (b"\x01\x00\x80\0", 1, "bytes follow"),
        (b"\x01\x00\xc0", 1, "holds 2 indices"),
        (b"\x01\x28" + b"\0" * 5 + b"\x40", 1, "or more"),
        (b"\x01\x28" + b"\0" * 5 + b"\0" * (1 << 20) + b"\x80", 1, "or more"),  # 2**63: negative if summed first
        (b"\x01\x28" + b"\xff" * 10 + b"\xc0", 2, "or more"),
        (b"\x02" + zstd.compress(b""), 1, "up to the last"),
        (b"\x02" + zstd.compress(b"\x01\0"), 1, "up to the last"),
        (b"\x02" + zstd.compress(b"\x01\x01"), 1, "up to the last"),
        (b"\x02" + zstd.compress(b"\x03"), 1, "holds 2 indices"),
    ],
)
def test_illegal_streams_are_refused(stream: bytes, count: int, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        read(stream, count)


@pytest.mark.parametrize("coder", ALONE)
def test_mutated_streams_give_indices_or_wire_error(coder: str) -> None:
    generator = np.random.default_rng(3)
    indices = random_support(0.1, 2000)
    stream = stream_of(indices, coder).numpy()
    for _ in range(4000):
        mutated = stream.copy()
        at = generator.integers(0, len(stream), 1 + generator.integers(0, 3))
        mutated[at] = generator.integers(0, 256, len(at))
        is_legal_or_refused(mutated.tobytes(), len(indices))


@given(coder=st.integers(0, 4), data=st.binary(max_size=80), count=st.integers(0, 300))
def test_random_bytes_give_indices_or_wire_error(coder: int, data: bytes, count: int) -> None:
    is_legal_or_refused(bytes([coder]) + data, count)


@given(coder=st.sampled_from([0, 2]), content=st.binary(max_size=80), count=st.integers(1, 80))
def test_random_content_within_zstd_gives_indices_or_wire_error(coder: int, content: bytes, count: int) -> None:
    is_legal_or_refused(bytes([coder]) + zstd.compress(content), count)


@pytest.mark.parametrize("head", [b"\x00", b"\x02"])
@pytest.mark.parametrize("fill", [0, 1, 255])
def test_memory_is_bounded_by_the_count_and_the_stream(head: bytes, fill: int) -> None:
    bomb = head + zstd.compress(np.full(1 << 26, fill, np.uint8))
    assert len(bomb) < 1 << 13
    tracemalloc.start()
    with pytest.raises(WireError):
        read(bomb, 100)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1 << 18


@pytest.mark.parametrize("width", [0, 16, 40, 41, 63, 255])
def test_rice_numbers_cannot_overflow(width: int) -> None:
    for count in (1, 9, 1000):
        for unary in (b"\xff" * 200, b"\0" * 4000 + b"\xff" * (count // 8 + 1)):
            is_legal_or_refused(bytes([1, width]) + b"\xff" * ((count * width + 7) // 8) + unary, count)


def test_short_supports_do_not_load_the_compiler() -> None:
    code = (
        "import sys, torch; from thinwire.codecs.integers import Indices;"
        "Indices().to_parts(torch.arange(9), 0, {}); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
