"""NF4, several ranges, and QSGD: each against its definition written down again, and what each costs."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import decode, encode_parts, generator
from thinwire.codecs.levels import NORMAL_FLOATS
from thinwire.kernels import levels
from thinwire.kernels.distortion import nmse
from thinwire.testing import same_bits
from thinwire.testing.strategies import finite

WORKING = (torch.float32, torch.float64)


def sent(text: str, x: Tensor, seed: int = 1) -> Tensor:
    return decode(encode_parts(tw.parse(text), x, seed, {})[0])


def bits(text: str, x: Tensor) -> float:
    return 8 * encode_parts(tw.parse(text), x, 1, {})[0].payload_bytes / x.numel()


def heavy(shape: tuple[int, ...] = (64, 512)) -> Tensor:
    """Student's t with 3 degrees of freedom."""
    draws = torch.randn(4, *shape, generator=generator(8))
    return draws[0] / draws[1:].square().mean(0).sqrt()


def test_the_levels_of_nf4_are_quantiles_of_a_normal_distribution() -> None:
    """Dettmers et al. 2023: eight parts above zero and seven below, over the largest."""
    offset = (1 - 1 / 32 + 1 - 1 / 30) / 2
    above = [NormalDist().inv_cdf(p) for p in np.linspace(offset, 0.5, 9)[:-1]]
    below = [-NormalDist().inv_cdf(p) for p in np.linspace(offset, 0.5, 8)[:-1]]
    assert sorted([*above, 0.0, *below]) == pytest.approx([level * max(above) for level in NORMAL_FLOATS], abs=2e-4)


@given(finite(WORKING), st.sampled_from([2, 7, 64, "tensor", "channel"]))
def test_nf4_takes_the_nearest_level_of_every_block(x: Tensor, block: int | str) -> None:
    decoded = sent(f"NF4(block={block!r})", x).double().reshape(-1)
    flat = x.double().reshape(-1)
    whole = block == "tensor" or x.dim() < 2
    width = block if isinstance(block, int) else max(x.numel() if whole else math.prod(x.shape[1:]), 1)
    for start in range(0, x.numel(), width):
        part, scale = flat[start : start + width], float(flat[start : start + width].abs().max())
        nearest = (part[:, None] - torch.tensor(NORMAL_FLOATS, dtype=torch.float64) * scale).abs().amin(1)
        assert bool(((part - decoded[start : start + width]).abs() <= nearest + scale * 1e-6 + 1e-44).all())


def test_nf4_costs_what_it_says() -> None:
    x = torch.randn(1 << 16, generator=generator(1))
    assert bits("NF4()", x) == 4.5
    assert bits("NF4(scales=Cast())", x) == 4.25
    assert bits("NF4(scales=Uniform(bits=8, block=256))", x) == 4 + 8 / 64 + 64 / 64 / 256
    assert nmse(x, sent("NF4()", x)) < nmse(x, sent("Uniform(bits=4, symmetric=True, block=64)", x)) / 1.3


def slow_ranges(x: np.ndarray, bits: int, splits: int) -> np.ndarray:
    """Sort, cut into equal counts, keep equal elements together with the first range that they begin, quantize each."""
    ascending, out = np.sort(x), np.empty_like(x)
    edges = [ascending[k * x.size // splits] for k in range(1, splits)]
    ranges = np.array([sum(value >= edge for edge in edges) for value in x])
    for k in range(splits):
        part = x[ranges == k]
        if part.size:
            step = (part.max() - part.min()) / x.dtype.type(2**bits - 1)
            place = np.rint((part - part.min()) / step) if step else np.zeros_like(part)
            out[ranges == k] = np.clip(place, 0, 2**bits - 1).astype(x.dtype) * step + part.min()
    return out


@given(finite(WORKING), st.integers(1, 8), st.sampled_from([1, 2, 4, 16]))
def test_ranges_are_minmax_quantizers_of_equal_counts(x: Tensor, bits: int, splits: int) -> None:
    x = x / 4  # `encode` sends what is larger losslessly: differences would overflow
    decoded = sent(f"Ranges(bits={bits}, splits={splits})", x)
    if x.numel():
        expected = torch.from_numpy(slow_ranges(x.reshape(-1).numpy(), bits, splits)).reshape(x.shape)
        assert torch.equal(decoded, expected)


@pytest.mark.parametrize(("width", "splits"), [(8, 8), (6, 4), (3, 2), (1, 256)])
@pytest.mark.parametrize("edges", ["sort", "histogram"])
def test_ranges_cost_the_range_too(width: int, splits: int, edges: str) -> None:
    x = heavy()
    codec = tw.Ranges(width, splits, edges)
    assert codec.code_bits == width + math.log2(splits)
    assert bits(str(codec), x) == codec.code_bits + splits * 64 / x.numel()


@pytest.mark.parametrize("splits", [2, 4, 8, 64])
def test_histograms_cut_nearly_equal_counts(splits: int) -> None:
    x = heavy().reshape(-1)
    x[7] = 1e30
    for dtype in WORKING:
        values = x.to(dtype).numpy()
        edges, least, most = levels.histogram_edges(values, splits)
        counts = np.diff([0, *np.searchsorted(np.sort(values), edges), values.size])
        assert np.abs(counts - values.size / splits).max() < 0.02 * values.size
        assert (least[1:] == most[:-1]).all()
        assert (least[0], most[-1]) == (values.min(), values.max())
    assert nmse(x[:7], sent(f"Ranges(6, {splits}, 'histogram')", x)[:7]) < 1


@pytest.mark.parametrize("edges", ["sort", "histogram"])
def test_ranges_of_one_value_are_exact(edges: str) -> None:
    text = f"Ranges(bits=2, splits=4, edges={edges!r})"
    for x in (torch.full((50,), 0.3), torch.zeros(50), torch.full((50,), -7.0, dtype=torch.float64)):
        assert same_bits(sent(text, x), x)
    mostly_zero = torch.where(torch.arange(1000) % 10 == 0, torch.randn(1000, generator=generator(1)), 0.0)
    assert bool((sent(text, mostly_zero)[mostly_zero == 0] == 0).all())
    two = torch.tensor([0.3, 5.0]).repeat(20)
    if edges == "sort":
        assert same_bits(sent("Ranges(bits=1, splits=2)", two), two)


def test_several_ranges_lose_to_one_a_channel_but_at_very_low_bits_and_heavy_tails() -> None:
    normal, tails = torch.randn(64, 512, generator=generator(4)), heavy()
    for width, splits in ((6, 4), (3, 8), (2, 4)):
        plain = f"Uniform(bits={tw.Ranges(width, splits).code_bits}, block='channel')"
        for x in (normal, tails):
            assert nmse(x, sent(f"Ranges({width}, {splits})", x)) > 2 * nmse(x, sent(plain, x))
    assert nmse(tails, sent("Ranges(1, 2)", tails)) < 0.7 * nmse(tails, sent("Uniform(bits=2, block='channel')", tails))


@given(finite(WORKING), st.sampled_from([1, 3, 127]), st.sampled_from([2, 7, "tensor", "channel"]), st.integers(0, 9))
def test_qsgd_rounds_to_a_neighbour_in_parts_of_the_norm(x: Tensor, s: int, block: int | str, seed: int) -> None:
    encoded = encode_parts(tw.parse(f"Qsgd(levels={s}, block={block!r})"), x, seed, {})[0]
    scales, symbols = encoded.known_part("scales").double(), encoded.known_part("symbols")
    assert symbols.numel() == 0 or int(symbols.abs().max()) <= s + 1
    flat = x.double().reshape(-1)
    whole = block == "tensor" or x.dim() < 2
    width = block if isinstance(block, int) else max(x.numel() if whole else math.prod(x.shape[1:]), 1)
    for k, start in enumerate(range(0, x.numel(), width)):
        part, step = flat[start : start + width], float(scales[k])
        peak = float(part.abs().max()) or 1.0
        norm = peak * float((part / peak).norm())
        assert step == pytest.approx(min(norm / s, torch.finfo(x.dtype).max), rel=1e-5, abs=1e-44)
        error = (symbols[start : start + width].double() * step - part).abs()
        assert bool((error <= step * (1 + 1e-5)).all())


def test_qsgd_has_the_published_variance_and_mean() -> None:
    x = torch.randn(8, 512, generator=generator(2)) ** 3
    draws = torch.stack([sent("Qsgd(levels=7)", x, seed).double() for seed in range(400)])
    variance = float((draws - x).square().sum((1, 2)).mean() / x.double().square().sum())
    assert variance <= min(512 / 7**2, math.sqrt(512) / 7)
    step = x.double().norm(dim=1, keepdim=True) / 7
    up = x.double() / step - (x.double() / step).floor()
    deviation = step * (up * (1 - up) / 400).sqrt()
    # Ten draws' worth more: what is rounded up once in hundreds of draws is not normal yet.
    assert bool(((draws.mean(0) - x.double()).abs() <= 5 * deviation + 10 * step / 400).all())


def test_most_of_qsgd_is_zero_and_coded_as_such() -> None:
    x = torch.randn(1 << 16, generator=generator(5))
    assert bits("Qsgd(levels=1)", x) < 0.4
    assert bits("Qsgd(levels=1, block='tensor')", x) < 0.1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NF4(block=1)", "block is 1"),
        ("NF4(block='row')", "block is 'row'"),
        ("Ranges(bits=0)", "bits is 0"),
        ("Ranges(bits=2.5)", "bits is 2.5"),
        ("Ranges(splits=3)", "splits is 3, expected a power of two"),
        ("Ranges(splits=512)", "splits is 512"),
        ("Ranges(bits=14, splits=8)", "17 bits"),
        ("Ranges(edges='kmeans')", "edges is 'kmeans'"),
        ("Qsgd(levels=0)", "levels is 0"),
        ("Qsgd(levels=True)", "levels is True"),
        ("Qsgd(block=0)", "block is 0"),
    ],
)
def test_impossible_settings_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tw.parse(text)
