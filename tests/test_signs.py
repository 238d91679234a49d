"""Sign and OneBit: each beside the slow obvious form of its paper, really one bit, and deaf to hostile parts."""

from __future__ import annotations

import math
import struct
from itertools import pairwise

import pytest
import torch
from frames import ONEBIT, SIGN, frame
from hypothesis import given
from torch import Tensor

import thinwire as tw
from thinwire.codec import Codec, Spec
from thinwire.kernels import blocks, reference, signs
from thinwire.testing import same_bits, suited
from thinwire.testing.strategies import FLOATS, finite

SHAPES = [(60, 40), (997,), (5, 7, 11), (1, 8), (8, 1), (3, 70_000)]
BLOCKS = ["tensor", "channel", 7, 64, 10_000]


def through_bytes(codec: Codec, x: Tensor, seed: int = 0) -> Tensor:
    return tw.decode(tw.loads(tw.dumps({"x": tw.encode(codec, x, seed)}), {"x": Spec.of(x)})["x"])


def parted(x: Tensor, block: int | str) -> list[Tensor]:
    """The blocks of a tensor as 1-D tensors, one after the other."""
    if block == "channel" and x.dim() > 1:
        return [channel.reshape(-1) for channel in x]
    return list(x.reshape(-1).split(block if isinstance(block, int) else x.numel()))


def slow_sign(x: Tensor, block: int | str) -> Tensor:
    """signSGD with norm, block by block: ``mean(|x|) * sign(x)``, where the sign of zero is +."""
    pieces = [torch.where(part >= 0, 1.0, -1.0).double() * part.double().abs().mean() for part in parted(x, block)]
    return torch.cat(pieces).reshape(x.shape)


def slow_onebit(x: Tensor, block: int | str) -> Tensor:
    """1-bit SGD, block by block: every element becomes the mean of those on its side of zero."""
    pieces = []
    for part in parted(x, block):
        above = part.double()[part >= 0]
        below = part.double()[part < 0]
        means = [side.mean() if side.numel() else side.sum() for side in (above, below)]
        pieces.append(torch.where(part >= 0, *means))
    return torch.cat(pieces).reshape(x.shape)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_are_what_the_papers_say(shape: tuple[int, ...], block: int | str) -> None:
    x = suited("update", shape, seed=4)
    x.view(-1)[::9] = 0
    for codec, slow in ((tw.Sign(block=block), slow_sign), (tw.OneBit(block=block), slow_onebit)):
        decoded = codec.from_parts(codec.to_parts(x, 0, {})[0], Spec.of(x), 0)
        assert torch.allclose(decoded.double(), slow(x, block), rtol=1e-6, atol=0), codec


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_gets_its_own_nearest_scale(dtype: torch.dtype) -> None:
    x = suited("update", (40, 50), dtype)
    for codec, slow in ((tw.Sign(), slow_sign(x, "tensor")), (tw.OneBit(), slow_onebit(x, "channel"))):
        decoded = through_bytes(codec, x)
        assert decoded.dtype == dtype
        assert torch.allclose(decoded.double(), slow, rtol=8 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("text", ["Sign()", "Sign(block=7)", "Sign(block='channel')", "OneBit()", "OneBit(block=16)"])
@given(x=finite())
def test_contractive_codecs_never_move_away(text: str, x: Tensor) -> None:
    codec = tw.parse(text)
    assert codec.contractive
    largest = float(x.abs().max()) if x.numel() else 0.0
    scaled, decoded = (t.double() / (largest or 1.0) for t in (x, through_bytes(codec, x)))
    assert float((scaled - decoded).square().sum()) <= float(scaled.square().sum()) * (1 + 1e-9)


def test_the_error_of_the_mean_is_the_one_that_the_theory_knows() -> None:
    x = suited("update", (300, 50), torch.float64)
    error = float((x - through_bytes(tw.Sign(), x)).square().sum())
    l1, l2 = float(x.abs().sum()), float(x.square().sum())
    assert math.isclose(error, l2 - l1**2 / x.numel(), rel_tol=1e-9)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_no_other_magnitudes_leave_less_error(factor: float) -> None:
    x = suited("update", (30, 50))
    for codec in (tw.Sign(block="channel"), tw.OneBit()):
        parts, _ = codec.to_parts(x, 0, {})
        best = codec.from_parts(parts, Spec.of(x), 0)
        other = codec.from_parts(
            {name: p if name == "codes" else p * factor for name, p in parts.items()}, Spec.of(x), 0
        )
        assert float((x - best).square().sum()) < float((x - other).square().sum())


def test_l2_keeps_the_norm_and_a_number_is_taken_as_it_is() -> None:
    x = suited("update", (30, 50))
    assert math.isclose(float(through_bytes(tw.Sign(scale="l2"), x).norm()), float(x.norm()), rel_tol=1e-5)
    assert through_bytes(tw.Sign(scale=0.25), x).unique().tolist() == [-0.25, 0.25]
    assert not tw.Sign(scale="l2").contractive
    assert not tw.Sign(scale=0.25).contractive


@pytest.mark.parametrize("scale", ["mean", "l2", 0.5])
def test_zeros_stay_zero_and_count_as_positive(scale: str | float) -> None:
    assert same_bits(through_bytes(tw.Sign(scale=scale), torch.zeros(9, 9)), torch.zeros(9, 9))
    assert same_bits(through_bytes(tw.Sign(scale=scale), -torch.zeros(9, 9)), torch.zeros(9, 9))
    x = torch.ones(9, 9)
    x[0] = 0
    assert bool((through_bytes(tw.Sign(scale=scale), x) > 0).all())


@pytest.mark.parametrize("workers", [1, 2, 5, 8])
def test_the_sign_of_the_mean_of_signs_is_the_majority(workers: int) -> None:
    uplink, downlink = tw.Sign(scale=0.5), tw.Sign(scale=2.0)
    gradients = [suited("update", (50, 40), seed=seed) for seed in range(workers)]
    votes = [through_bytes(uplink, gradient) for gradient in gradients]
    elected = through_bytes(downlink, torch.stack(votes).mean(0))
    positive = sum((gradient >= 0).int() for gradient in gradients)
    assert torch.equal(elected, torch.where(2 * positive >= workers, 2.0, -2.0))


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("Sign()", 1.0),
        ("Sign(block='channel')", 1 + 32 / 500),
        ("Sign(block=128)", 1 + 32 / 128),
        ("OneBit()", 1 + 64 / 500),
    ],
)
def test_a_frame_holds_one_bit_an_element_and_the_scales(text: str, bits: float) -> None:
    x = suited("update", (2000, 500))
    frame_bits = 8 * len(tw.dumps({"x": tw.encode(tw.parse(text), x)})) / x.numel()
    assert bits <= frame_bits <= bits * 1.0008


def test_huge_magnitudes_have_a_mean_too() -> None:
    for dtype in (torch.float32, torch.float64):
        most = torch.finfo(dtype).max / 4
        x = torch.full((300, 400), most, dtype=dtype)
        x[::2] *= -0.5
        for block in ("tensor", "channel"):
            assert torch.allclose(through_bytes(tw.Sign(block=block), x) / most, slow_sign(x / most, block).to(dtype))
            assert torch.allclose(
                through_bytes(tw.OneBit(block=block), x) / most, slow_onebit(x / most, block).to(dtype)
            )
        assert torch.allclose(through_bytes(tw.Sign(scale="l2"), x) / most, x.sign() * (0.625**0.5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Sign(scale='median')", "expected 'mean', 'l2' or a positive number"),
        ("Sign(scale=0)", "expected 'mean', 'l2' or a positive number"),
        ("Sign(scale=-1.0)", "expected 'mean', 'l2' or a positive number"),
        ("Sign(scale=0.1, block=64)", "the same for all blocks"),
        ("Sign(block=1)", "an integer from 2"),
        ("OneBit(block='row')", "'tensor', 'channel' or an integer"),
    ],
)
def test_impossible_configurations_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tw.parse(text)


TEN = Spec((10,), torch.float32)
BAD = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("table", "body", "words"),
    [
        *((SIGN, struct.pack("<2Bf", 0, 0, scale), "sign: a scale is") for scale in (*BAD, -1.0)),
        *((ONEBIT, struct.pack("<2B2f", 0, 0, 1.0, mean), "onebit: a mean is") for mean in (*BAD, 1.0)),
        *((ONEBIT, struct.pack("<2B2f", 0, 0, mean, -1.0), "onebit: a mean is") for mean in (*BAD, -1.0)),
        *((SIGN, struct.pack("<2Bf", 0, 1 << bit, 1.0), "sign: the padding bits") for bit in range(2, 8)),
        (ONEBIT, struct.pack("<2B2f", 255, 255, 1.0, -1.0), "onebit: the padding bits"),
    ],
)
def test_hostile_parts_are_refused(table: bytes, body: bytes, words: str) -> None:
    message = tw.loads(frame(table, b"\0", body), {"x": TEN})
    with pytest.raises(tw.WireError, match=words):
        tw.decode(message["x"])


def test_a_block_of_no_elements_is_refused() -> None:
    for block in (b"\2", b"\3"):
        with pytest.raises(tw.WireError, match="an integer from 2"):
            tw.loads(frame(SIGN[:1] + block + SIGN[2:], b"\0", bytes(6)), {"x": TEN})


@given(x=finite((torch.float32, torch.float64)))
def test_packing_equals_the_reference(x: Tensor) -> None:
    flat = x.reshape(-1)
    packed = signs.pack(flat)
    assert same_bits(packed, reference.pack((flat >= 0).int(), 1))
    assert signs.padding_is_zero(packed, flat.numel())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("count", "width"), [(0, 1), (1, 1), (7, 7), (64, 8), (1000, 33), (200_003, 100_000)])
def test_choosing_equals_where(dtype: torch.dtype, count: int, width: int) -> None:
    mask = suited("update", (count,)) >= 0
    low, high = (suited("update", (-(-count // width), 1), dtype, seed) for seed in (1, 2))
    each = torch.arange(count) // width
    expected = torch.where(mask, high[each, 0], low[each, 0])
    assert same_bits(signs.choose(reference.pack(mask.int(), 1), count, width, low, high), expected)


@pytest.mark.parametrize("width", [1, 3, 1000, 1 << 16, (1 << 16) + 1, 200_003])
def test_pieces_and_rows_cover_a_tensor_in_order(width: int) -> None:
    flat = torch.arange(200_003)
    assert torch.equal(torch.cat([row.reshape(-1) for row in blocks.rows(flat, width)]), flat)
    found = list(blocks.pieces(flat.numel(), width))
    assert [at.start for at, _ in found] == [0, *(at.stop for at, _ in found[:-1])]
    assert found[-1][0].stop == flat.numel()
    assert all(at.stop - at.start <= blocks.PIECE for at, _ in found)
    for at, some in found:
        assert (some.start, some.stop) == (at.start // width, -(-at.stop // width))
    assert all(later.start >= earlier.start for (_, earlier), (_, later) in pairwise(found))
