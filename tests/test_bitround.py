"""BitRound: a bound on every element by itself, for vectors whose elements differ by any factor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from frames import BITROUND, frame
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import Spec, decode, encode_parts, specs
from thinwire.kernels import mantissas
from thinwire.testing.strategies import FLOATS, finite

CENSUS = [38.0, 191000.0, 10.0, 954.0, 83.0, 40.0]


def coded(x: Tensor, bits: int) -> Tensor:
    """Return what decodes, also of tensors that ``encode`` would rather send raw or losslessly."""
    codec = tw.BitRound(bits)
    return decode(encode_parts(codec.fit(x, 0), x, 0, {})[0])


def check_each_element(x: Tensor, y: Tensor, bits: int) -> None:
    """Every element is within half of its own last kept bit: in exact arithmetic, float64 included."""
    assert Spec.of(x) == Spec.of(y)
    for given_, found in zip(x.reshape(-1).tolist(), y.reshape(-1).tolist(), strict=True):
        # Both are multiples of a tiny power of two, and near each other: the difference of the two is exact.
        assert abs(found - given_) <= abs(given_) * 2.0 ** -(bits + 1), (given_, found)
        assert (found > 0) == (given_ > 0)
        assert (found < 0) == (given_ < 0)


@given(x=finite(), bits=st.integers(0, 16))
def test_every_element_is_within_its_own_bound(x: Tensor, bits: int) -> None:
    check_each_element(x, coded(x, bits), bits)
    check_each_element(x, decode(tw.encode(tw.BitRound(bits), x)), bits)


@pytest.mark.parametrize("dtype", FLOATS)
def test_whatever_the_dtype_can_hold_stays_within_the_bound(dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    smallest = limits.smallest_normal * limits.eps
    values = [0.0, smallest, 3 * smallest, 77 * smallest, limits.tiny, 1.0, 1 - limits.eps, 1 + limits.eps, 2 / 3]
    # Two powers of two below the largest: the carry of what rounds up must have somewhere to go in float64.
    x = torch.tensor([*values, *(-v for v in values), limits.max / 4], dtype=torch.float64).to(dtype)
    for bits in range(17):
        check_each_element(x, coded(x, bits), bits)
    ends = torch.tensor([-limits.max, limits.max, smallest], dtype=torch.float64).to(dtype)
    check_each_element(ends, decode(tw.encode(tw.BitRound(), ends.repeat(9))).reshape(9, 3)[4], 7)


def test_it_rounds_as_the_paper_does() -> None:
    x = torch.randn(4000, generator=torch.Generator().manual_seed(5)) ** 3
    for bits in (0, 3, 7, 16):
        # Round to nearest, ties to even, on the bits of float32.
        drop, pattern = 23 - bits, x.numpy().view(np.int32).astype(np.int64)
        expected = (pattern + (1 << (drop - 1)) - 1 + (pattern >> drop & 1)) >> drop << drop
        assert torch.equal(coded(x, bits), torch.from_numpy(expected.astype(np.int32).view(np.float32)))


def test_values_of_few_bits_return_as_they_are() -> None:
    for x in (torch.ones(300), torch.arange(-255, 256).float(), torch.full((5, 5), -0.375), torch.eye(9)):
        assert torch.equal(coded(x, 7), x)
    x = torch.randn(3000, generator=torch.Generator().manual_seed(1)).bfloat16()
    assert torch.equal(coded(x, 7), x)


def mixed() -> Iterator[tuple[str, Tensor]]:
    """Yield vectors whose small elements matter, in all proportions."""
    noise = torch.Generator().manual_seed(2)
    yield "census", torch.tensor(CENSUS)
    for count, scale in itertools.product((2, 10, 300, 5000), (1e-6, 1e-3, 1e4, 1e20)):
        x = torch.randn(count, generator=noise)
        x[count // 2] = scale
        yield f"one of {count} is {scale}", x
        yield f"one of {count} is 1, the others {scale}", torch.full((count,), scale).index_fill(0, torch.tensor(1), 1)
    yield "a power of ten each", 10.0 ** torch.arange(-30, 30)
    yield "two scales, half and half", torch.cat([torch.rand(2000, generator=noise), torch.rand(2000) * 1e-9])
    yield "a mask", (torch.rand(1500, generator=noise) > 0.9).float() * -1e9
    yield "denormals beside ones", torch.tensor([1.0, 1e-40, -1e-45, 0.0] * 400)
    yield "a row", torch.tensor([CENSUS * 200])
    yield "of channels", torch.tensor(CENSUS * 200).reshape(1, -1, 1, 1)
    yield "of channels, the first side", torch.tensor(CENSUS * 200).reshape(-1, 1, 1)
    yield "a small matrix", torch.tensor([CENSUS * 4] * 6)
    yield "a small column", torch.tensor(CENSUS * 40).reshape(-1, 1)


@pytest.mark.parametrize("name", ["auto", "auto-down"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_default_keeps_every_element_of_vectors_of_mixed_scale(name: str, dtype: torch.dtype) -> None:
    compressor = tw.zoo[name]
    assert isinstance(compressor, tw.Compressor)
    tensors = {label: x.to(dtype) for label, x in mixed()}
    message, state, _ = compressor.compress(tensors, {}, tw.Signals(round=1))
    received = compressor.decompress(tw.loads(tw.dumps(message), specs(tensors)))
    for label, x in tensors.items():
        check_each_element(x, received[label], 7)
    # What is kept is added once and does not grow: the same vectors again are as near as the first time.
    again, _, _ = compressor.compress(tensors, state, tw.Signals(round=2))
    for label, found in compressor.decompress(again).items():
        target = tensors[label].double()
        assert bool(((found.double() - target).abs() <= 2.0**-7 * target.abs()).all()), label


def test_every_policy_and_method_keeps_small_tensors_by_default() -> None:
    """Nothing that a user may name without saying ``small`` destroys the small elements of a vector."""
    tensors = {"v": torch.tensor(CENSUS), "long": torch.tensor(CENSUS * 300), "m": torch.randn(64, 64) * 0.01}
    policies = [
        tw.Fixed(tw.TopK(0.01)), tw.ByVolume(), tw.ErrorBound(), tw.ErrorBound(absolute=1.0),
        tw.ErrorBound(relative=0.5), tw.ErrorBound(nmse=0.1, whole=True), tw.ByteBudget(ratio=8), tw.Plateau(),
        tw.AdaQuantFL(), tw.ByImportance(), tw.ByEnergy(), tw.Deadline(1.0), tw.Deadline(1e6),
    ]  # fmt: skip
    compressors = {repr(policy): tw.Compressor(policy, tw.NoFeedback()) for policy in policies}
    compressors |= {name: compressor for name in tw.zoo if isinstance(compressor := tw.zoo[name], tw.Compressor)}
    compressors |= {name: tw.Compressor(tw.Fixed(c)) for name in tw.zoo if isinstance(c := tw.zoo[name], tw.Codec)}
    for name, compressor in compressors.items():
        signals = tw.Signals(round=1, rounds=9, samples=5, bandwidth_bps=1e9, loss=1.0)
        received = compressor.decompress(compressor.compress(tensors, {}, signals)[0])
        for label in ("v", "long"):
            error = ((received[label] - tensors[label]) / tensors[label]).abs().max()
            assert float(error) <= 1 / 3, (name, label, received[label])


def test_the_cost_is_that_of_one_scale_where_there_is_one() -> None:
    noise = torch.Generator().manual_seed(3)
    sizes = {n: tw.encode(tw.BitRound(), torch.randn(n, generator=noise)).payload_bytes for n in (10, 64, 256, 20000)}
    assert sizes[10] <= 20
    assert sizes[64] <= 110
    assert sizes[256] <= 1.5 * 256
    assert sizes[20000] <= 1.36 * 20000
    assert tw.encode(tw.BitRound(), torch.zeros(1000)).payload_bytes <= 4
    assert tw.encode(tw.BitRound(), torch.ones(1000)).payload_bytes <= 5
    assert tw.encode(tw.BitRound(), torch.full((1000,), 0.3)).payload_bytes <= 4 + 875
    sparse = torch.zeros(100_000)
    sparse[::200] = torch.randn(500, generator=noise)
    assert tw.encode(tw.BitRound(), sparse).payload_bytes <= 1000


def test_what_cannot_be_is_refused() -> None:
    for bits in (-1, 17, 1.5, True):
        with pytest.raises(ValueError, match="expected 0 to 16"):
            tw.BitRound(bits)  # type: ignore[arg-type]
    for value in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(tw.NonFiniteError, match="lossless"):
            tw.encode(tw.BitRound(), torch.tensor([1.0, value]))
    nested = frame(b"\x1d\x07" + BITROUND, b"\0" + bytes(20), bytes(60))
    with pytest.raises(tw.WireError, match=r"a lossy codec for torch\.int32"):
        tw.loads(nested, {"x": Spec((10,), torch.float32)})


@settings(max_examples=200)
@given(data=st.binary(max_size=60), largest=st.integers(-1100, 1100), dtype=st.sampled_from(FLOATS))
def test_any_bytes_decode_to_finite_floats_or_are_refused(data: bytes, largest: int, dtype: torch.dtype) -> None:
    count = 10
    symbols = np.resize(np.frombuffer(data, np.int8), count) if data else np.zeros(count, np.int8)
    body = symbols.astype("<i4").tobytes() + np.array([largest], "<i2").tobytes()
    packed = bytes((int(np.count_nonzero(symbols)) * 7 + 7) // 8)
    spec = Spec((count,), dtype)
    try:
        out = decode(tw.loads(frame(BITROUND, b"\0" + bytes([len(packed)]), body + packed, spec), {"x": spec})["x"])
    except tw.WireError:
        return
    assert Spec.of(out) == spec
    assert bool(torch.isfinite(out).all())


def test_the_exponents_of_a_dtype_are_those_of_its_numbers() -> None:
    for dtype in FLOATS:
        limits = torch.finfo(dtype)
        smallest = torch.tensor(limits.smallest_normal * limits.eps, dtype=torch.float64).to(dtype)
        assert float(smallest) > 0
        assert float(smallest / 2) == 0
        assert int(np.frexp(float(smallest))[1]) == mantissas.bottom(dtype)
        assert int(np.frexp(limits.max)[1]) == mantissas.top(dtype) - 1
