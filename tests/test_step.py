"""`Step`: what is made in pieces is what is made whole, its symbols have rows and columns, and its bounds hold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import Codec, Encoded, Spec, State, encode_parts, encode_with_history, forget
from thinwire.kernels.distortion import largest_step, nmse, rms
from thinwire.testing import same_bits
from thinwire.testing.strategies import FLOATS, finite, kind
from thinwire.testing.strategies import KINDS as EVERY_KIND

SYMBOLS = ["Symbols()", "Ans()", "Huffman()", "Zstd()", "Raw()"]
SHAPES = [(), (0,), (0, 3), (1,), (7,), (40, 30), (2, 3, 4, 5)]
BOUNDS = ["step=0.3", "absolute=0.02", "relative=0.1", "nmse=0.05", "absolute=1e-09"]
KINDS = ("normal", "outlier", "magnitudes", "sparse", "ties")


@dataclass(frozen=True)
class Whole(Codec, id="test-whole", tag=210):
    """`Symbols`' bytes by the plain way, as codecs that take no pieces make them."""

    lossless = True

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        return tw.Symbols().to_parts(x, seed, history)

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        return tw.Symbols().layout(spec, size)

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        return tw.Symbols().from_parts(parts, spec, seed)


def through_bytes(codec: Codec, x: Tensor) -> Tensor:
    return tw.decode(tw.loads(tw.dumps({"x": tw.encode(codec, x)}), {"x": Spec.of(x)})["x"])


def parts_of(text: str, x: Tensor) -> Encoded:
    codec = tw.parse(text).fit(x, 0)
    return encode_parts(codec, x, 0, {})[0]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("bound", BOUNDS)
def test_pieces_make_the_same_bytes_and_floats_as_the_whole(bound: str, dtype: torch.dtype) -> None:
    for name in KINDS:
        x = kind(name, (70, 9000 if name == "normal" else 90), dtype, seed=2)
        pieces, whole = parts_of(f"Step({bound})", x), parts_of(f"Step({bound}, symbols=Whole())", x)
        if pieces.codec.id != "step":
            assert whole.codec == pieces.codec
            continue
        assert [bytes(p.view(torch.uint8).numpy()) for p in pieces.leaves()] == [
            bytes(p.view(torch.uint8).numpy()) for p in whole.leaves()
        ]
        assert same_bits(tw.decode(pieces), tw.decode(whole))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("symbols", SYMBOLS)
def test_symbols_have_the_shape_of_the_tensor(symbols: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    codec = tw.parse(f"Step(step=0.25, symbols={symbols})")
    assert codec.to_parts(x, 0, {})[0]["symbols"].shape == shape
    assert codec.layout(Spec.of(x), 0)["symbols"] == Spec(shape, torch.int32)
    parts = codec.to_parts(x, 0, {})[0]
    frame = tw.dumps({"x": encode_parts(codec, x, 0, {})[0]})
    assert same_bits(tw.decode(tw.loads(frame, {"x": Spec.of(x)})["x"]), codec.from_parts(parts, Spec.of(x), 0))


def test_rows_and_columns_are_worth_bytes() -> None:
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(200, 300, generator=draw) * torch.randn(200, 1, generator=draw).exp()
    codec = tw.parse("Step(nmse=0.1, symbols=Ans())")
    assert tw.encode(codec, x).payload_bytes < 0.95 * tw.encode(codec, x.reshape(-1)).payload_bytes


@given(finite(), st.floats(-45, 30))
def test_subtraction_leaves_what_decoding_lacks(x: Tensor, exponent: float) -> None:
    for symbols in ("Symbols()", "Huffman()"):
        encoded = tw.encode(tw.parse(f"Step(absolute={10.0**exponent!r}, symbols={symbols})"), x)
        target = x.to(Spec.of(x).working, copy=True).contiguous()
        encoded.codec.subtract_(target, encoded)
        assert same_bits(target + 0, x.to(target.dtype) - tw.decode(encoded).to(target.dtype) + 0)


def slow_residual(x: Tensor, encoded: Encoded) -> Tensor:
    """Return what is left of a tensor by really decoding its bytes."""
    decoded = tw.loads(tw.dumps({"x": forget(encoded)}), {"x": Spec.of(x)})["x"]
    return x.to(Spec.of(x).working) - tw.decode(decoded).to(Spec.of(x).working)


def residual(x: Tensor, encoded: Encoded) -> Tensor:
    target = x.to(Spec.of(x).working, copy=True).contiguous()
    encoded.codec.residual_(target, encoded)
    return target


@given(finite(), st.sampled_from(["step", "absolute", "relative"]), st.floats(-45, 30), st.floats(0.5, 1.0))
def test_quantizing_anew_leaves_what_decoding_leaves(x: Tensor, bound: str, exponent: float, dead_zone: float) -> None:
    for symbols in ("Symbols()", "Huffman()"):
        codec = tw.parse(f"Step({bound}={10.0**exponent!r}, dead_zone={dead_zone!r}, symbols={symbols})")
        encoded, _ = encode_with_history(codec, x, 0, {})
        assert same_bits(residual(x, encoded), slow_residual(x, encoded))


@pytest.mark.parametrize("symbols", SYMBOLS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("bound", BOUNDS)
def test_quantizing_anew_leaves_it_in_many_pieces(bound: str, dtype: torch.dtype, symbols: str) -> None:
    for name in EVERY_KIND:
        x = kind(name, (70, 2100) if name == "outlier" else (130, 130), dtype, seed=3)
        encoded, _ = encode_with_history(tw.parse(f"Step({bound}, symbols={symbols})"), x, 0, {})
        assert same_bits(residual(x, encoded), slow_residual(x, encoded)), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_compressor_leaves_it_also_of_what_a_narrow_dtype_cannot_hold(dtype: torch.dtype) -> None:
    x = kind("huge", (70, 90), dtype, seed=4)
    state = {"residual/x": 0.3 * x.to(Spec.of(x).working).flip(0)}
    target = x.to(state["residual/x"].dtype) + state["residual/x"]
    message, after, _ = tw.Compressor(tw.Fixed(tw.Step(nmse=0.1), below=0)).compress({"x": x}, state)
    assert same_bits(after["residual/x"], target - tw.decode(message["x"]).to(target.dtype))


@given(finite(), st.floats(-45, 30))
def test_an_absolute_bound_is_never_exceeded(x: Tensor, exponent: float) -> None:
    bound = 10.0**exponent
    assert bool(((through_bytes(tw.Step(absolute=bound), x).double() - x.double()).abs() <= bound).all())


@given(finite(), st.floats(-7, 1))
def test_a_relative_bound_is_never_exceeded_not_even_by_rounding(x: Tensor, exponent: float) -> None:
    unit = float(x.double().abs().max()) if x.numel() else 0.0
    size = unit * float((x.double() / unit).square().mean().sqrt()) if unit else 0.0
    error = (through_bytes(tw.Step(relative=10.0**exponent), x).double() - x.double()).abs()
    assert bool((error <= 10.0**exponent * size).all())


@given(finite(), st.floats(-6, -0.1), st.floats(0.5, 1.0))
def test_the_largest_step_keeps_the_bound(x: Tensor, exponent: float, dead_zone: float) -> None:
    bound = 10.0**exponent
    step = largest_step(x, bound, dead_zone)
    if step is not None:
        assert nmse(x, through_bytes(tw.Step(step=step, dead_zone=dead_zone), x)) <= bound * (1 + 1e-12)


@pytest.mark.parametrize("bound", [0.5, 0.002, 1e-6])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_there_is_a_largest_step_beside_the_largest_float(dtype: torch.dtype, bound: float) -> None:
    most = torch.finfo(dtype).max
    x = torch.tensor([-4.5e16, most, -most / 3, 1.0, -most], dtype=torch.float64).clamp(-most, most).to(dtype)
    step = largest_step(x, bound, 0.6)
    assert step is None or 0 < step < float("inf")
    assert nmse(x, through_bytes(tw.Step(nmse=bound), x)) <= bound * (1 + 1e-12)


@pytest.mark.parametrize("bound", [0.3, 0.1, 0.01, 1e-4])
@pytest.mark.parametrize("power", [1, 3])
def test_the_largest_step_leaves_little_of_the_bound(power: int, bound: float) -> None:
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(6)) ** power
    step = largest_step(x, bound, 0.66)
    assert step is not None
    assert 0.96 * bound < nmse(x, through_bytes(tw.Step(step=step), x)) <= bound


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sizes_and_errors_are_those_of_float64(dtype: torch.dtype) -> None:
    x, y = kind("magnitudes", (300, 300), dtype, 1), kind("normal", (300, 300), dtype, 2)
    squares = x.double().square().sum()
    assert rms(x) == pytest.approx(float((squares / x.numel()).sqrt()), rel=1e-12)
    assert nmse(x, y) == pytest.approx(float((x.double() - y.double()).square().sum() / squares), rel=1e-12)


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
def test_memory_is_that_of_what_is_given_and_what_comes_out() -> None:
    script = Path(__file__).with_name("step_memory.py")
    codecs = ("Step(step=2.0)", "Step(step=0.3)", "Step(step=0.015)", "Step(nmse=0.1)", "Step(absolute=0.01)")
    run = subprocess.run([sys.executable, script, *codecs], check=True, capture_output=True, text=True, timeout=120)
    shares = json.loads(run.stdout)
    assert max(shares.values()) <= 0.5, shares
