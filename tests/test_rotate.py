"""Rotation: the levels are the best ones, the transform is exact, errors are what theory says, decoding is pinned."""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import Spec, decode, encode_parts, generator
from thinwire.kernels import hadamard, reference, small
from thinwire.kernels.distortion import nmse
from thinwire.kernels.hadamard import cpu, mixed, normal, tensor
from thinwire.kernels.hadamard import reference as plain
from thinwire.kernels.hadamard.plan import Plan
from thinwire.kernels.raw_bytes import raw_bytes
from thinwire.testing import same_bits
from thinwire.testing.strategies import finite

THEORY = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497, 5: 0.002500, 8: 4.12e-05}
"""Mean squared error of the best quantizer of a normal variable of variance 1, by bits (Max 1960)."""
SIZES = (64, 128, 1024, 4096, 8192)
N = NormalDist()


def data(name: str, count: int = 1 << 17) -> Tensor:
    x = torch.randn(count, generator=generator(3))
    return {"normal": x, "cubes": x**3, "squares": x.sign() * x.square(), "spike": torch.cat([x[:1] * 0 + 200, x[1:]])}[
        name
    ]


def sent(codec: tw.Codec, x: Tensor, seed: int = 1) -> Tensor:
    return decode(encode_parts(codec, x, seed, {})[0])


def matrix(size: int) -> np.ndarray:
    """Sylvester's Hadamard matrix, int64."""
    h = np.ones((1, 1), np.int64)
    while len(h) < size:
        h = np.kron(np.array([[1, 1], [1, -1]]), h)
    return h


@pytest.mark.parametrize("bits", range(1, 9))
def test_levels_are_the_means_of_their_parts_of_a_normal_distribution(bits: int) -> None:
    levels = normal.levels(bits) / normal.UNIT
    assert len(levels) == 2**bits
    assert (levels == -levels[::-1]).all()
    ends = np.array([-math.inf, *((levels[1:] + levels[:-1]) / 2), math.inf])
    density = np.array([0.0, *(N.pdf(end) for end in ends[1:-1]), 0.0])
    mass = np.diff([0.0, *(N.cdf(end) for end in ends[1:-1]), 1.0])
    assert np.abs((density[:-1] - density[1:]) / mass - levels).max() < 2e-4
    if bits in THEORY:
        assert 1 - (mass * levels**2).sum() == pytest.approx(THEORY[bits], rel=2e-3)


@pytest.mark.parametrize("bits", range(8))
def test_cells_lead_to_the_nearest_level(bits: int) -> None:
    book, z = normal.codebook(bits), torch.linspace(-9, 9, 100_001)
    for fine in (0, 1):
        levels = book.floats[fine * normal.WIDTH :][: 2 ** (bits + fine)]
        rows = torch.nn.functional.pad(z, (0, -len(z) % 64)).view(-1, 64)
        kinds = torch.full((64,), fine, dtype=torch.uint8)
        still = np.zeros((0, rows.numel() // 64), np.uint64)
        codes = (
            cpu.quantize(rows, torch.ones(len(rows)), still, kinds, torch.zeros(64), book)[0].view(-1)[: len(z)].numpy()
        )
        error = np.abs(z.numpy() - levels[codes])
        assert (error <= np.abs(z.numpy()[:, None] - levels[None]).min(1) + 1e-6).all()


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_transform_is_the_matrix(size: int) -> None:
    x = torch.randint(-1000, 1000, (3, size), generator=generator(1), dtype=torch.int32)
    assert (plain.transform(x).numpy() == x.numpy() @ matrix(size)).all()
    assert torch.equal(plain.transform(plain.transform(x)), x * size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("bits", "fine"), [(1, 0), (0, 30), (2, 128), (8, 0)])
@pytest.mark.parametrize("turns", [1, 2])
def test_compiled_loops_equal_the_reference(size: int, bits: int, fine: int, turns: int) -> None:
    plan = Plan(3 * size, size, bits, fine, turns)
    rows = torch.randn(3, size, generator=generator(size)) ** 3
    factors = (size ** ((1 - turns) / 2) / rows.norm(dim=1)).float()
    signs, mask, book = plan.signs(7), plan.mask(size, 7), normal.codebook(bits)
    moves = tensor.dither(size, bits, 7)
    quantized = cpu.quantize(rows, factors, signs, mask, moves, book)
    assert all(map(same_bits, quantized, plain.quantize(rows, factors, signs, mask, moves, book)))
    for codes in (quantized[0], torch.full_like(quantized[0], 2**bits - 1)):
        assert same_bits(cpu.restore(codes, signs, mask, book), plain.restore(codes, signs, mask, book))


def test_not_a_number_stays_within_the_tables() -> None:
    plan, rows = Plan(1 << 14, 64, 4, 0, 1), torch.full((256, 64), torch.nan)
    codes = hadamard.quantize(rows, torch.ones(256), plan.signs(1), plan.mask(64, 1), torch.zeros(64), 4).codes
    assert int(codes.max()) < 16


@pytest.mark.parametrize("size", SIZES)
def test_integers_never_overflow_whatever_the_codes(size: int) -> None:
    """The worst codes: all at the last level, every sign such that one sum takes them all, twice."""
    plan = Plan(size, size, 8, 0, 2)
    codes, still = torch.full((1, size), 255, dtype=torch.uint8), np.zeros((2, size // 64), np.uint64)
    worst = int(normal.levels(8)[-1]) * size
    assert worst + (1 << 8) < 2**31
    drop, most = plain.shift(size), plain.limit(size)
    first = min((worst + (1 << drop >> 1)) >> drop, most)
    assert first * size < 2**31
    restored = plain.restore(codes, still, plan.mask(size, 1), normal.codebook(8))
    assert restored.tolist() == [[first] * size]
    # An honest sender's elements are normal between the turns, and over 22 deviations below what is cut off.
    assert most > 22 * normal.UNIT * math.sqrt(size) / 2**drop


def test_what_is_decoded_never_changes() -> None:
    """Codes of every kind, in blocks of every size, through both turns: the same bits on every machine."""
    digests = {}
    for scale in ("unbiased", "mse"):
        codec, spec = tw.Eden(2.5, scale), Spec((3 * 4096 + 2048 + 700,), torch.float32)
        layout = codec.layout(spec, 0)
        bytes_ = {name: (np.arange(part.numel) * 37 % 251).astype(np.uint8) for name, part in layout.items()}
        parts = {name: torch.from_numpy(bytes_[name]) for name in ("codes", "fine")}
        parts["scales"] = torch.from_numpy(bytes_["scales"].astype(np.float32) / 7)
        digests[scale] = hashlib.sha256(bytes(raw_bytes(codec.from_parts(parts, spec, 12345)))).hexdigest()[:16]
    assert digests == {"unbiased": "6177bf5a01868acc", "mse": "e1fb443edc17972e"}


@pytest.mark.parametrize("size", [64, 128, 512])
@pytest.mark.parametrize("turns", [1, 2])
def test_decoding_is_integer_arithmetic(size: int, turns: int) -> None:
    plan = Plan(size, size, 3, 77, turns)
    signs, mask = plan.signs(4), plan.mask(size, 4)
    codes = torch.randint(0, 8, (1, size), generator=generator(0)).to(torch.uint8)
    v = np.where(mask.numpy(), normal.levels(4)[codes[0]], normal.levels(3)[codes[0]]).astype(np.int64)
    for turn in reversed(range(turns)):
        v = v @ matrix(size)
        if turn:
            drop = hadamard.shift(size, turns)
            v = np.clip((v + (1 << drop >> 1)) >> drop, -plain.limit(size), plain.limit(size))
        v *= 1 - 2 * np.unpackbits(signs[turn].view(np.uint8), bitorder="little").astype(np.int64)
    assert plain.restore(codes, signs, mask, normal.codebook(3)).tolist() == [v.tolist()]


def slow(codec: tw.Eden, x: Tensor, seed: int) -> np.ndarray:
    """The method written down again, with matrices and float64, for one block."""
    size, turns = x.numel(), 2 if codec.scale == "unbiased" else 1
    plan = Plan(size, size, int(codec.bits), codec.fine, turns)
    flips = [1 - 2 * np.unpackbits(words.view(np.uint8), bitorder="little").astype(float) for words in plan.signs(seed)]
    y = x.double().numpy()
    for flip in flips:
        y = matrix(size) @ (y * flip) / math.sqrt(size)
    y *= math.sqrt(size) / np.linalg.norm(y)
    books = [normal.levels(int(codec.bits) + more) / normal.UNIT for more in (0, 1)]
    mask = plan.mask(size, seed).numpy()
    seen = y + (tensor.dither(size, int(codec.bits), seed).numpy() if turns == 2 else 0)
    chosen = np.array([books[m][np.abs(books[m] - z).argmin()] for z, m in zip(seen, mask, strict=True)])
    scale = (y @ y) / (chosen @ y) if turns == 2 else (chosen @ y) / (chosen @ chosen)
    out = scale * chosen * np.linalg.norm(x.double()) / math.sqrt(size)
    for flip in reversed(flips):
        out = matrix(size) @ out / math.sqrt(size) * flip
    return out


@pytest.mark.parametrize("size", [64, 512])
@pytest.mark.parametrize("text", ["Eden(1)", "Eden(3, 'mse')", "Eden(1.5, 'mse')", "Eden(0.4)", "Eden(6)"])
def test_it_is_the_published_method(text: str, size: int) -> None:
    codec, x = tw.parse(text), data("cubes", size)
    assert np.allclose(sent(codec, x, 5).numpy(), slow(codec, x, 5), atol=2e-4 * float(x.norm()) / math.sqrt(size))


@pytest.mark.parametrize("bits", THEORY)
@pytest.mark.parametrize("name", ["normal", "cubes", "squares"])
def test_the_error_is_what_theory_says_whatever_the_distribution(bits: int, name: str) -> None:
    x = data(name)
    assert nmse(x, sent(tw.Eden(bits, "mse"), x)) == pytest.approx(THEORY[bits], rel=0.02)
    assert nmse(x, sent(tw.Eden(bits), x)) == pytest.approx(THEORY[bits] / (1 - THEORY[bits]), rel=0.02)


def test_fractions_of_a_bit_lie_in_between() -> None:
    x, last = data("normal"), 1.0
    for bits in (0.05, 0.25, 0.5, 1, 1.25, 1.75, 2, 2.5, 3):
        encoded = encode_parts(tw.Eden(bits, "mse"), x, 2, {})[0]
        error = nmse(x, decode(encoded))
        assert error < last
        assert 8 * encoded.payload_bytes / x.numel() == pytest.approx(bits, abs=0.02)
        last = error
    assert nmse(x, sent(tw.Eden(0.25, "mse"), x)) == pytest.approx(1 - 0.25 * (1 - THEORY[1]), rel=0.02)


@pytest.mark.parametrize("bits", [0.5, 1, 4])
@pytest.mark.parametrize("name", ["cubes", "spike"])
def test_the_mean_over_seeds_is_the_tensor(bits: float, name: str) -> None:
    """Also of the small elements beside a large one: along them, the decoded tensor is as long as the tensor."""
    x = data(name, 4096)
    rest = torch.where(x == x.abs().max(), 0, x).double()
    shares = torch.tensor([float(sent(tw.Eden(bits), x, seed).double() @ rest / (rest @ rest)) for seed in range(100)])
    assert abs(float(shares.mean()) - 1) < 4 * float(shares.std()) / 10 + 2e-3


SHORT = {
    "a spike": lambda n: torch.cat([torch.ones(1), torch.full((n - 1,), 0.01)]),
    "two spikes": lambda n: torch.cat([torch.tensor([1.0, -1.0]), torch.full((n - 2,), 0.01)]),
    "a spike at the end": lambda n: torch.cat([torch.full((n - 1,), -0.01), torch.tensor([-3.0])]),
    "alone with a tenth": lambda n: torch.cat([torch.ones(1), torch.zeros(n - 2), torch.tensor([0.1])]),
    "halves": lambda n: 0.5 ** torch.arange(n).clamp(max=12).float(),
}


@pytest.mark.parametrize("bits", [0.5, 1, 4, 8])
@pytest.mark.parametrize("n", [2, 40, 64, 100, 256, 300])
def test_short_tensors_are_sent_without_bias(n: int, bits: float) -> None:
    """Also what is small beside a large element, and elements one by one: no mean is further off than chance takes it.

    Many blocks at once are as many draws of the rotation, with one dither.
    """
    codec, draws, seeds = tw.Eden(bits, block=1 << max(6, (n - 1).bit_length())), 60, 30
    for name, make in SHORT.items():
        x = make(n)[:n]
        rows = torch.nn.functional.pad(x, (0, codec.block - n)).repeat(draws, 1)
        rest = torch.where(rows[0].abs() > 0.5 * rows[0].abs().max(), 0, rows[0]).double()
        got = torch.cat([sent(codec, rows, seed).view_as(rows) for seed in range(seeds)]).double()
        along = got @ rest / (rest @ rest).clamp(min=1e-12)
        error, most = abs(float(along.mean()) - float(rest.any())), float(along.std()) / math.sqrt(len(got))
        # Blocks of one seed share their dither, which is a little less than so many draws; 2 % is what may be left.
        assert error < 5 * most + 0.02, (name, error, most)
        off = (got.mean(0) - rows[0]).abs() / (got.std(0) / math.sqrt(len(got)) + 1e-4 * float(x.norm()) / n)
        assert float(off.max()) < 7, (name, float(off.max()))


def test_without_a_dither_short_tensors_would_be_biased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor, "dither", lambda size, bits, seed: torch.zeros(size))
    x = SHORT["a spike"](64)
    got = sent(tw.Eden(4, block=64), x.repeat(2000, 1), 0).double()
    assert float(got[:, 1:].mean()) > 1.05 * 0.01


def test_one_turn_would_be_biased() -> None:
    x = data("spike", 4096)
    rest = torch.where(x == x.abs().max(), 0, x).double()
    best = torch.stack([sent(tw.Eden(1, "mse"), x, seed) for seed in range(50)]).mean(0).double()
    assert float(best @ rest / (rest @ rest)) < 0.7


@given(finite(), st.sampled_from([0.1, 1, 1.5, 4]), st.integers(0, 99))
def test_the_least_error_is_never_above_that_of_sending_nothing(x: Tensor, bits: float, seed: int) -> None:
    decoded = decode(tw.encode(tw.Eden(bits, "mse"), x, seed))
    peak = float(x.abs().max()) if x.numel() else 0.0
    a, b = x.double() / (peak or 1.0), decoded.double() / (peak or 1.0)
    assert float((a - b).square().sum()) <= float(a.square().sum()) * (1 + 1e-3)


@given(st.integers(0, 40_000), st.sampled_from(SIZES), st.integers(0, 255))
def test_blocks_cover_the_tensor_with_little_padding(numel: int, block: int, fine: int) -> None:
    plan = Plan(numel, block, 1, fine, 1)
    at = 0
    for run in plan.runs:
        assert run.start == at
        assert run.count >= 1
        assert 64 <= run.size <= block
        at = run.end
    assert at == plan.padded
    assert 0 <= plan.padded - numel < 64
    assert plan.blocks <= numel // block + 8
    assert plan.padded * fine / 256 <= plan.fines <= plan.padded * fine / 256 + plan.blocks


@given(st.integers(1, 9000), st.integers(0, 255), st.integers(0, 9))
def test_codes_of_two_widths_come_together_again(numel: int, fine: int, seed: int) -> None:
    plan = Plan(numel, 1024, 1, fine, 1)
    codes = torch.arange(plan.padded).to(torch.uint8)
    coarse, finer = mixed.parted(codes, plan, seed)
    assert (len(coarse), len(finer)) == (plan.padded - plan.fines, plan.fines)
    assert torch.equal(mixed.joined(coarse, finer, plan, seed), codes)


def test_what_the_seed_draws_never_changes() -> None:
    plan = Plan(128, 64, 1, 32, 2)
    words = [[0xDB01602B100B9ED7, 0x10E2C46865E98746], [0xA9038A921825F10D, 0x14D7973C5C2A449C]]
    assert plan.signs(5).tolist() == words
    assert plan.mask(64, 5).nonzero().view(-1).tolist() == [3, 8, 22, 39, 40, 45, 50, 51]
    bits = np.unpackbits(Plan(1 << 20, 4096, 1, 0, 2).signs(9).view(np.uint8))
    assert abs(float(bits.mean()) - 0.5) < 2e-3


@settings(max_examples=50)
@given(st.lists(st.integers(0, 255), max_size=99), st.integers(1, 8))
def test_packing_of_small_codes_is_that_of_all_codes(values: list[int], bits: int) -> None:
    codes = torch.tensor([value % 2**bits for value in values], dtype=torch.uint8)
    packed = small.pack(codes, bits)
    assert same_bits(packed, reference.pack(codes.int(), bits))
    assert same_bits(small.unpack(packed, bits, len(codes)), codes)
    assert small.padding_is_zero(packed, bits, len(codes))


def test_fractions_become_fine() -> None:
    assert tw.Eden(2.5) == tw.Eden(bits=2, fine=128)
    assert tw.Eden(0.999) == tw.Eden(1)
    assert str(tw.Eden(1.5)) == "Eden(bits=1, fine=128)"
    assert not tw.Eden(1).contractive
    assert tw.Eden(1, "mse").contractive


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Eden(0)", "expected 1/256 to 8"),
        ("Eden(0.001)", "expected 1/256 to 8"),
        ("Eden(8.1)", "expected 1/256 to 8"),
        ("Eden(8, fine=1)", "expected 1/256 to 8"),
        ("Eden(True)", "bits is True"),
        ("Eden('4')", "bits is '4'"),
        ("Eden(1e999)", "bits is inf"),
        ("Eden(1.5, fine=3)", "not both"),
        ("Eden(1, fine=256)", "fine is 256"),
        ("Eden(scale='best')", "scale is 'best'"),
        ("Eden(block=32)", "block is 32"),
        ("Eden(block=100)", "block is 100"),
        ("Eden(block='tensor')", "block is 'tensor'"),
    ],
)
def test_impossible_settings_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tw.parse(text)


@pytest.mark.parametrize("scale", ["mse", "unbiased"])
def test_blocks_of_any_magnitude_keep_their_precision(scale: str) -> None:
    x = torch.randn(6, 64, generator=generator(2), dtype=torch.float64)
    units = torch.tensor([1e-150, 1e-20, 1, 0, 1e20, 1e150], dtype=torch.float64)[:, None]
    codec = tw.Eden(8, scale, block=64)
    error = (sent(codec, x * units) - x * units).square().sum(1)
    assert bool((error <= 1e-4 * (x * units).square().sum(1)).all())
    narrow = (x[1:5] * units[1:5]).float()
    assert nmse(narrow[:2], sent(codec, narrow).view(4, 64)[:2]) < 1e-4
    assert not bool(torch.signbit(sent(codec, narrow).view(4, 64)[2]).any())


def test_huge_values_saturate() -> None:
    x = torch.full((64,), 8e37) * torch.randn(64, generator=generator(1)).sign()
    assert bool(torch.isfinite(sent(tw.Eden(1 / 256), x)).all())
    assert bool(torch.isfinite(sent(tw.Eden(0.1), (x / 8e37 * 60_000).half())).all())
