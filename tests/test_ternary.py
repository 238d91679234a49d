"""Ternary: TernGrad's law of chance, five elements in a symbol, and deaf to hostile parts."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
import torch
from frames import TERNARY, frame
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import Spec, decode, encode_parts
from thinwire.kernels import trits
from thinwire.testing import same_bits, suited
from thinwire.testing.strategies import FLOATS, finite

DRAWS = 2000
TEN = Spec((10,), torch.float32)


def draws(codec: tw.Ternary, x: Tensor, count: int = DRAWS) -> Tensor:
    """Return (count, ...) decoded tensors, one a seed, in float64."""
    return torch.stack([decode(encode_parts(codec, x, seed, {})[0]).double() for seed in range(count)])


def slow_scale(part: Tensor, clip: float | None) -> float:
    """The largest magnitude of a block, after clipping at so many standard deviations around zero."""
    values = [abs(float(value)) for value in part.reshape(-1)]
    sigma = math.sqrt(sum(value**2 for value in values) / len(values))
    return max(values) if clip is None else min(max(values), clip * sigma)


@pytest.mark.parametrize("clip", [None, 2.5])
def test_an_element_is_kept_with_the_probability_of_the_paper(clip: float | None) -> None:
    x = suited("update", (8, 8), seed=2) + 0.001
    scale = slow_scale(x, clip)
    found = draws(tw.Ternary(clip), x)
    assert bool(((found == 0) | (found.abs() / scale - 1).abs().lt(1e-6) & (found.sign() == x.sign())).all())
    clipped = x.double().clamp(-scale, scale)
    chance = clipped.abs() / scale
    allowed = 5 * (chance * (1 - chance) / DRAWS).sqrt() + 10 / DRAWS
    assert bool((((found != 0).double().mean(0) - chance).abs() <= allowed).all())
    assert bool(((found.mean(0) - clipped).abs() <= allowed * scale).all())


@pytest.mark.parametrize("clip", [None, 2.5, 0.1])
@pytest.mark.parametrize("block", ["tensor", "channel", 7, 100_000])
def test_every_block_has_a_scale_of_its_own(clip: float | None, block: int | str) -> None:
    x = suited("update", (3, 70_000), seed=1)
    x[1] *= 1000
    codec = tw.Ternary(clip, block=block)
    parts, _ = codec.to_parts(x, 3, {})
    width = {"tensor": x.numel(), "channel": 70_000}.get(str(block), block)
    some = [0, len(parts["scales"]) // 2, len(parts["scales"]) - 1]
    expected = [slow_scale(x.view(-1)[i * width : (i + 1) * width], clip) for i in some]
    assert np.allclose(parts["scales"][some, 0], expected, rtol=1e-5)
    decoded = codec.from_parts(parts, Spec.of(x), 3).view(-1)
    each = parts["scales"][torch.arange(x.numel()) // width, 0]
    assert torch.equal(decoded.abs()[decoded != 0], each[decoded != 0])
    certain = x.view(-1).abs() >= each
    assert torch.equal(decoded[certain], (x.view(-1).sign() * each)[certain])


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_and_nothing_but_the_seed_decides(dtype: torch.dtype) -> None:
    x = suited("update", (50, 41), dtype)
    frames = [tw.dumps({"x": tw.encode(tw.Ternary(), x, seed)}) for seed in (5, 5, 6)]
    assert frames[0] == frames[1] != frames[2]
    decoded = tw.decode(tw.loads(frames[0], {"x": Spec.of(x)})["x"])
    assert set(decoded.unique().tolist()) <= {-float(x.abs().max()), 0.0, float(x.abs().max())}
    assert not bool((decoded * x < 0).any())


@given(x=finite(), seed=st.integers(0, 2**32 - 1))
def test_no_element_is_further_away_than_the_scale(x: Tensor, seed: int) -> None:
    decoded = decode(tw.encode(tw.Ternary(), x, seed))
    assert bool((decoded.abs() <= (x.abs().max() if x.numel() else 0)).all())
    assert not bool(decoded[x == 0].any())


def test_constants_and_lone_elements_are_exact() -> None:
    one_hot = torch.zeros(40, 40)
    one_hot[3, 3] = -2.0
    for x in (torch.full((40, 40), 0.3), -torch.full((40, 40), 0.3), one_hot, torch.zeros(40, 40)):
        assert torch.equal(decode(tw.encode(tw.Ternary(), x)), x)


@pytest.mark.parametrize(("clip", "most"), [(None, 0.95), (2.5, 1.3)])
def test_a_frame_is_smaller_than_five_in_a_byte(clip: float | None, most: float) -> None:
    x = torch.randn(500, 500, generator=torch.Generator().manual_seed(0))
    frame_bits = 8 * len(tw.dumps({"x": tw.encode(tw.Ternary(clip), x)})) / x.numel()
    assert 0.5 < frame_bits < most < 1.6


@given(st.lists(st.integers(-1, 1), max_size=60))
def test_five_digits_are_one_number_in_balanced_ternary(digits: list[int]) -> None:
    symbols = trits.pack(np.array(digits, np.int8))
    padded = digits + [0] * (-len(digits) % 5)
    slow = [sum(digit * 3**place for place, digit in enumerate(padded[i : i + 5])) for i in range(0, len(padded), 5)]
    assert symbols.dtype == np.int32
    assert symbols.tolist() == slow
    assert len(slow) == trits.groups(len(digits))
    assert trits.unpack(symbols, np.dtype(np.float32)).tolist() == padded


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_drawing_keeps_what_is_above_its_level(kind: type) -> None:
    x = np.array([0.0, -0.0, 1.0, -1.0, 1.0, -1.0, 0.5, -0.5], kind)
    levels = np.array([0.0, 0.0, 0.9, 0.9, 1.0, 1.0, 0.0, 0.0], kind)
    assert trits.draw(x, levels).tolist() == [0, 0, 1, -1, 0, 0, 1, -1]


def test_all_243_symbols_are_different_digits() -> None:
    symbols = np.arange(-trits.MOST, trits.MOST + 1, dtype=np.int32)
    digits = trits.unpack(symbols, np.dtype(np.float64)).reshape(-1, 5)
    assert set(digits.reshape(-1)) == {-1.0, 0.0, 1.0}
    assert np.array_equal(digits @ [1, 3, 9, 27, 81], symbols)


@pytest.mark.parametrize(
    ("symbols", "scale", "words"),
    [
        ((0, 122), 1.0, "a symbol is beyond 121"),
        ((-122, 0), 1.0, "a symbol is beyond 121"),
        ((-(2**31), 2**31 - 1), 1.0, "a symbol is beyond 121"),
        *(((1, 1), scale, "a scale is negative, NaN or infinite") for scale in (math.nan, math.inf, -1.0)),
    ],
)
def test_hostile_parts_are_refused(symbols: tuple[int, int], scale: float, words: str) -> None:
    message = tw.loads(frame(TERNARY, b"\0", struct.pack("<2if", *symbols, scale)), {"x": TEN})
    with pytest.raises(tw.WireError, match=words):
        tw.decode(message["x"])


def test_padding_digits_must_be_zero() -> None:
    nine = Spec((9,), torch.float32)
    good, bad = (tw.loads(frame(TERNARY, b"\0", struct.pack("<2if", 1, s, 0.5), nine), {"x": nine}) for s in (40, 41))
    assert same_bits(tw.decode(good["x"]), torch.tensor([0.5, 0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5]))
    with pytest.raises(tw.WireError, match="the padding digits are not zero"):
        tw.decode(bad["x"])


@pytest.mark.parametrize("clip", [0, -1.0, math.inf, math.nan, "2.5", True])
def test_impossible_clips_are_refused(clip: float) -> None:
    with pytest.raises(ValueError, match="expected a positive number"):
        tw.Ternary(clip)
