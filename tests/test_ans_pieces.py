"""Ans in pieces: the bytes and symbols of the whole, from two bytes a symbol where those fit, in little memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ans_symbols import made, product
from hypothesis import given
from hypothesis import strategies as st

import thinwire as tw
from thinwire.codec import Spec, decode, encode_parts
from thinwire.errors import WireError
from thinwire.kernels import ans
from thinwire.kernels.ans import joining, stream

SHAPES = [(0,), (1,), (257,), (20_000,), (40, 30), (60, 50, 3), (1, 2000), (130, 131)]
KINDS = ("ones", "narrow", "broad", "wide", "rare", "positive", "extremes", "random", "constant")


@given(st.lists(st.lists(st.integers(-40_000, 40_000), max_size=5)), st.integers(1, 4))
def test_pieces_are_narrow_while_they_fit(pieces: list[list[int]], step: int) -> None:
    whole = np.array([value for piece in pieces for value in piece], np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "_PIECE", step)
        found = ans.narrowed((np.array(piece, np.int32) for piece in pieces), whole.size)
    fits = all(-(2**15) <= value < 2**15 for value in whole.tolist())
    assert found.dtype == (np.int16 if fits else np.int32)
    assert np.array_equal(found, whole)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_make_the_bytes_of_the_whole(kind: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_BLOCK", 1000)
    values = torch.from_numpy(made(kind, shape) if math.prod(shape) else np.zeros(0, np.int32))
    codec, spec = tw.Ans(), Spec(shape, torch.int32)
    parts = codec.write(torch.split(values, 700), shape)
    assert bytes(parts["stream"].numpy()) == bytes(codec.to_parts(values.reshape(shape), 0, {})[0]["stream"].numpy())
    assert torch.equal(torch.cat([*codec.read(parts, shape), values[:0]]), values)
    assert torch.equal(codec.from_parts(parts, spec, 0), values.reshape(shape))


@pytest.mark.parametrize("text", ["Step(step=0.3, symbols={})", "Rdoq(step=0.3, symbols={})"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("symbols", ["Ans()", "Symbols()"])
def test_a_quantizer_decodes_pieces_as_it_decodes_the_whole(text: str, dtype: torch.dtype, symbols: str) -> None:
    x = torch.randn(70, 90, 3, generator=torch.Generator().manual_seed(5)).to(dtype)
    codec = tw.parse(text.format(symbols))
    encoded = encode_parts(codec, x, 0, {})[0]
    whole = codec.from_parts({name: encoded.known_part(name) for name in encoded.parts}, Spec.of(x), 0)
    assert torch.equal(decode(encoded), whole)


def test_a_stream_broken_in_its_last_block_is_refused() -> None:
    values, shape = product((300, 200), 3.0)[0].reshape(-1), (300, 200)
    data = ans.encode(values, shape)
    data[-1] ^= 1
    with pytest.raises(WireError):
        list(ans.pieces(data, shape))


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
def test_memory_is_less_than_the_tensor() -> None:
    codecs = ("Step(step=0.3, symbols=Ans())", "Step(step=0.015, symbols=Ans())", "Rdoq(step=0.3)")
    script = [sys.executable, Path(__file__).with_name("step_memory.py"), *codecs]
    shares = json.loads(subprocess.run(script, check=True, capture_output=True, text=True, timeout=120).stdout)
    assert max(share for name, share in shares.items() if name.endswith("decode")) <= 0.5, shares
    assert max(share for name, share in shares.items() if name.startswith("Step")) <= 1.0, shares
