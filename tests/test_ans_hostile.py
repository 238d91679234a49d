"""Ans and hostile streams: a tensor or WireError, mostly an error, in bounded memory."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from ans_symbols import made, product, rank_two
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.codec import Spec
from thinwire.codecs.ans import Ans
from thinwire.errors import WireError
from thinwire.kernels import ans
from thinwire.kernels.ans import blocks, cpu, reference, sides, stream
from thinwire.kernels.ans.bits import Reader, Writer
from thinwire.kernels.ans.choice import without_context
from thinwire.kernels.ans.classes import Classes


def part(data: bytes) -> dict[str, torch.Tensor]:
    return {"stream": torch.from_numpy(np.frombuffer(data, np.uint8).copy())}


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_other_tensors_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="int32"):
        Ans().to_parts(torch.zeros(3, dtype=dtype), 0, {})
    with pytest.raises(WireError):
        Ans().from_parts(part(b"\0"), Spec((3,), dtype), 0)


def is_tensor_or_refused(data: bytes, shape: tuple[int, ...]) -> bool:
    try:
        values = ans.decode(data, shape)
    except WireError:
        return False
    assert values.shape == (math.prod(shape),)
    assert values.dtype == np.int32
    return True


SAMPLES = [
    ((40, 60), product((40, 60), 1.0)[0].reshape(-1)),
    ((30, 40), product((30, 40), 0.2)[0].reshape(-1)),
    ((100, 70), product((100, 70), 30.0)[0].reshape(-1)),
    ((300,), made("narrow", (300,))),
    ((40, 30), made("wide", (40, 30))),
    ((6, 50, 9), made("rare", (6, 50, 9))),
]


@pytest.mark.parametrize(("shape", "values"), SAMPLES)
def test_cut_or_lengthened_streams_are_refused(shape: tuple[int, ...], values: np.ndarray) -> None:
    data = ans.encode(values, shape)
    assert not any(is_tensor_or_refused(data[:length], shape) for length in range(0, len(data), 1 + len(data) // 200))
    assert not is_tensor_or_refused(data + b"\0", shape)
    assert not is_tensor_or_refused(data + b"\0\0", shape)
    assert not is_tensor_or_refused(data, (0,))
    assert not is_tensor_or_refused(data, (*shape[:-1], shape[-1] + 50))


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    kind, copy = rng.integers(0, 5), bytearray(data)
    if kind == 4:
        return bytes(copy[: rng.integers(0, len(copy))])
    reach = (len(copy), 80, 20, 6)[kind]
    for at in rng.integers(0, min(reach, len(copy)), rng.integers(1, 4)):
        copy[at] = rng.integers(0, 256) if rng.random() < 0.5 else copy[at] ^ 1 << rng.integers(0, 8)
    return bytes(copy)


def accepted_share(mutations: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    streams = [(ans.encode(values, shape), shape) for shape, values in SAMPLES]
    accepted = 0
    for i in range(mutations):
        data, shape = streams[i % len(streams)]
        changed = mutated(data, rng)
        accepted += changed != data and is_tensor_or_refused(changed, shape)
    return accepted / mutations


def test_mutated_streams_give_a_tensor_or_wire_error_mostly_an_error() -> None:
    assert accepted_share(1500, seed=1) < 0.2


@pytest.mark.slow
def test_many_mutated_streams_give_a_tensor_or_wire_error() -> None:
    assert accepted_share(100_000, seed=2) < 0.2


@settings(max_examples=300)
@given(data=st.binary(max_size=90), mode=st.integers(0, 5), count=st.integers(0, 3000))
def test_random_bytes_give_a_tensor_or_wire_error(data: bytes, mode: int, count: int) -> None:
    is_tensor_or_refused(bytes([mode]) + data, (count,))


@pytest.mark.parametrize(
    ("data", "shape", "reason"),
    [
        (b"", (3,), "mode none"),
        (b"\0", (0,), "for 0 zeros"),
        (b"\0\0", (3,), "for 3 zeros"),
        (b"\5", (3,), "mode 05"),
        (b"\3\0\0", (3, 4), "2 dimensions"),
        (b"\2", (3,), "head is cut short"),
        (b"\2\x05\0\0", (3,), "direct magnitudes"),
        (b"\2" + b"\0" * 9, (3,), "too long"),
    ],
)
def test_illegal_streams_are_refused(data: bytes, shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        ans.decode(data, shape)


def test_a_state_too_small_or_a_word_too_many_is_refused() -> None:
    values = made("narrow", (300,))
    model = without_context(values)[0]
    grid = model.classes.grid(300)
    block = blocks.write(values, grid, model.coder)
    for wrong, reason in (
        (b"\0\0\0\0" + block[4:], "too small"),
        (block + b"\0\0", "began"),
        (block[:-2], "began"),
        (block[:-1], "of two"),
        (block[:2], "expected 4"),
    ):
        with pytest.raises(WireError, match=reason):
            blocks.read(wrong, grid, model.coder)
    assert np.array_equal(blocks.read(block, grid, model.coder), values)


def test_a_value_beyond_int32_is_refused() -> None:
    values = np.full(300, -(2**31), np.int32)
    model = without_context(values)[0]
    flipped = Classes(model.classes.rows, model.classes.cols, -model.classes.row_phases, model.classes.col_phases)
    block = blocks.write(values, model.classes.grid(300), model.coder)
    with pytest.raises(WireError, match="began"):
        blocks.read(block, flipped.grid(300), model.coder)


@pytest.mark.parametrize("count", [300, 5000])
def test_compiled_decoding_of_any_words_equals_the_reference(count: int) -> None:
    values = np.where(made("narrow", (count,)) > 1, made("wide", (count,)), made("narrow", (count,)))
    model = without_context(values)[0]
    grid, lanes = model.classes.grid(count), 1 if count == 300 else 4
    states, words = reference.encode(values, grid, model.coder, lanes)
    rng = np.random.default_rng(9)
    for size in (0, 1, 7, words.size // 2, words.size):
        broken = words[:size] ^ (rng.random(size) < 0.01).astype(np.uint16)
        slow, fast = (x.decode(states, broken, grid, model.coder) for x in (reference, cpu))
        assert np.array_equal(slow[0], fast[0])
        assert np.array_equal(slow[1], fast[1])
        assert slow[2:] == fast[2:]


def test_a_negative_folded_symbol_is_refused() -> None:
    values = made("narrow", (300,))
    plain = stream.write(values, without_context(values)[0], False)
    with pytest.raises(WireError, match="negative"):
        ans.decode(b"\4" + plain, (300,))


def test_a_phase_beyond_half_a_turn_is_refused() -> None:
    values = rank_two((40, 30), 0.0).reshape(-1)
    model = ans.model(values, (40, 30))
    wrong = replace(model.classes, row_phases=np.full(40, 7))
    out = Writer()
    data = sides.write(out, wrong)
    parts = sides.read(Reader(out.data()))
    cuts = data[: parts[0].size_bytes], data[parts[0].size_bytes :]
    with pytest.raises(WireError, match="a class of 14, expected at most 12"):
        sides.classes(parts, cuts, 40, 30)


def test_memory_is_bounded_by_the_elements_and_the_stream() -> None:
    values, _ = product((400, 500), 1.0)
    data = ans.encode(values.reshape(-1), values.shape)
    ans.decode(data, values.shape)
    tracemalloc.start()
    ans.decode(data, values.shape)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 16 * values.size + (1 << 21)
