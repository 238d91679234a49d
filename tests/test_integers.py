"""Indices: lossless, close to the combinatorial bound, smaller where indices cluster."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from index_lists import PLACES, ascending, bound_bytes, clustered, rows, shifting, uniform

import thinwire.codecs.raw  # noqa: F401  (the codec that replaces one which would grow a tensor)
from thinwire.codec import Spec, decode, encode
from thinwire.codecs.integers import Indices
from thinwire.errors import WireError
from thinwire.kernels.indices import CODERS, choice

NAMES = ("smallest", *CODERS)
NUMBERS = {"gaps": 0, "rice": 1, "bitmap": 2, "local12": 4, "split": 5, "runs": 6}
CHUNKS = 3
HEAD_BYTES = 12
"""Coder, length, width and padding of a chunk."""


def stream_of(indices: np.ndarray, coder: str = "smallest") -> torch.Tensor:
    return Indices(coder).to_parts(torch.from_numpy(indices), 0, {})[0]["stream"]


def read(stream: torch.Tensor, count: int) -> np.ndarray:
    return Indices().from_parts({"stream": stream}, Spec((count,), torch.int64), 0).numpy()


@pytest.mark.parametrize("coder", NAMES)
@given(indices=ascending)
def test_round_trip(coder: str, indices: np.ndarray) -> None:
    x = torch.from_numpy(indices)
    before = x.clone()
    y = decode(encode(Indices(coder), x))
    assert y.dtype == torch.int64
    assert torch.equal(y, before)
    assert torch.equal(x, before)


@pytest.mark.parametrize("coder", NAMES)
@pytest.mark.parametrize("density", [1.0, 0.5, 0.05, 0.002])
def test_round_trip_of_long_supports(coder: str, density: float) -> None:
    indices = uniform(density)
    stream = stream_of(indices, coder)
    assert np.array_equal(read(stream, len(indices)), indices)
    assert coder == "smallest" or stream[0] == NUMBERS[coder if density > 0.01 or coder != "bitmap" else "rice"]


def test_numbers_never_change() -> None:
    assert {name: coder.number for name, coder in CODERS.items()} == NUMBERS


def test_nothing_is_no_byte() -> None:
    assert stream_of(np.empty(0, np.int64)).numel() == 0
    assert read(torch.empty(0, dtype=torch.uint8), 0).size == 0


@pytest.mark.parametrize("places", [PLACES, 25_600_000])
@pytest.mark.parametrize("density", [0.001, 0.01, 0.02, 0.03, 0.05, 0.06, 0.1])
def test_random_supports_cost_the_bound_and_at_most_1_5_percent(density: float, places: int) -> None:
    indices = uniform(density, places)
    assert len(stream_of(indices)) <= 1.015 * bound_bytes(indices, places)


@pytest.mark.parametrize("density", [0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
def test_so_do_dense_ones(density: float) -> None:
    indices = uniform(density)
    assert len(stream_of(indices)) <= 1.015 * bound_bytes(indices)


def test_clustered_supports_beat_the_bound() -> None:
    indices = clustered()
    assert len(stream_of(indices)) < 0.9 * bound_bytes(indices)
    assert len(stream_of(indices)) < 0.9 * len(stream_of(indices, "rice"))


def test_whole_rows_cost_two_bytes_a_row() -> None:
    indices = rows(0.05)
    assert len(stream_of(indices)) < 2 * len(indices) / 64
    assert len(stream_of(indices)) < 0.06 * bound_bytes(indices)


@pytest.mark.parametrize("count", [1, 300, 100_000, 1_000_000])
def test_consecutive_indices_cost_next_to_nothing(count: int) -> None:
    assert len(stream_of(np.arange(5, 5 + count))) < 32
    assert len(stream_of(np.arange(2**39, 2**39 + count))) < 32 * math.ceil(count / 2**17)


@given(indices=ascending.filter(len))
def test_the_smallest_is_within_bytes_of_the_smallest(indices: np.ndarray) -> None:
    assert len(stream_of(indices)) <= min(len(stream_of(indices, coder)) for coder in NUMBERS) + 4


@pytest.mark.parametrize("indices", [uniform(0.4), uniform(0.9), clustered(1 << 24), rows(0.5)])
def test_chunks_cost_little_more_than_the_best_coder_of_the_whole(indices: np.ndarray) -> None:
    best = min(len(stream_of(indices, coder)) for coder in NUMBERS)
    assert len(stream_of(indices)) <= 1.002 * best + HEAD_BYTES * math.ceil(len(indices) / 2**17)


@given(seed=st.integers(0, 99), density=st.floats(0.001, 1), log=st.integers(12, 14), count=st.integers(1, 40_000))
def test_chunks_by_rice_cost_a_head_each(seed: int, density: float, log: int, count: int) -> None:
    indices = np.cumsum(np.random.default_rng(seed).geometric(density, count)) - 1
    chunks = math.ceil(count / (1 << log))
    assert len(choice.smallest(indices, log)) <= len(stream_of(indices, "rice")) + HEAD_BYTES * chunks


@pytest.mark.parametrize("log", [12, 14, 17])
def test_chunks_win_where_the_density_changes(log: int) -> None:
    indices = shifting(1 << log)
    stream = choice.smallest(indices, log)
    assert stream[:2] == bytes([CHUNKS, log])
    assert np.array_equal(choice.decode(stream, len(indices)), indices)
    assert len(stream) < 0.98 * min(len(stream_of(indices, coder)) for coder in NUMBERS)


@given(indices=ascending.filter(lambda indices: len(indices) > 11))
def test_rice_is_always_smaller_than_local12(indices: np.ndarray) -> None:
    assert len(stream_of(indices, "rice")) <= len(stream_of(indices, "local12"))


@pytest.mark.parametrize("coder", sorted(set(NAMES) - {"split", "runs"}))
def test_far_indices_fall_back_to_rice(coder: str) -> None:
    stream = stream_of(np.array([5, 2**40 - 1]), coder)
    assert stream[0] == NUMBERS["rice"]
    assert len(stream) < 16


@pytest.mark.parametrize("values", [[-1], [3, 3], [4, 3], [2**40], [0, -(2**63)], [0, 2**63 - 1]])
def test_other_integers_are_refused(values: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        stream_of(np.array(values))


@pytest.mark.parametrize("x", [torch.zeros(3), torch.zeros(3, dtype=torch.int32), torch.zeros(1, 1, dtype=torch.int64)])
def test_other_tensors_are_refused(x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="1-D int64"):
        Indices().to_parts(x, 0, {})


def test_every_second_element_of_a_tensor_is_taken_as_it_is() -> None:
    x = torch.arange(20_000)[::2]
    assert torch.equal(decode(encode(Indices(), x)), x)


def test_unknown_coder_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'rice'"):
        Indices("rise")  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", [Spec((3,), torch.int32), Spec((1, 3), torch.int64), Spec((), torch.int64)])
def test_other_schemas_are_refused(spec: Spec) -> None:
    with pytest.raises(WireError):
        Indices().from_parts({"stream": stream_of(np.arange(3))}, spec, 0)


def test_short_supports_do_not_load_the_compiler() -> None:
    code = (
        "import sys, torch; from thinwire.codecs.integers import Indices;"
        "Indices().to_parts(torch.arange(4000), 0, {}); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
