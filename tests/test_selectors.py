"""The rules of selection: how many, always the largest, the published formulas, and no history that misleads."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import State, encode_with_history
from thinwire.codecs.sparse.pairs import Sparsifier
from thinwire.kernels.select.sample import spread

RULES: dict[str, tuple[Callable[[float], Sparsifier], Fraction, Fraction]] = {
    "topk": (tw.TopK, Fraction(1), Fraction(1)),
    "gaussian": (tw.Gaussian, Fraction(2, 3), Fraction(4, 3)),
    "gaussian2": (lambda density: tw.Gaussian(density, adjustments=5), Fraction(2, 3), Fraction(4, 3)),
    "dgcsampling": (tw.DGCSampling, Fraction(4, 5), Fraction(4, 3)),
    "redsync": (tw.RedSync, Fraction(1), Fraction(2)),
    "redsynctrim": (lambda density: tw.RedSync(density, trim=True), Fraction(1), Fraction(1)),
    "hggtopk": (tw.HggTopK, Fraction(99, 100), Fraction(1)),
}
"""Name -> rule of a density, and the stated limits of what it sends, as multiples of k."""
EXACT = ("topk", "redsynctrim")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LARGE = 60_000  # large enough for the compiled loops


def draw(kind: str, n: int, seed: int = 0) -> Tensor:
    """Return n float64 numbers: distributions with light and heavy tails, ties, many zeros, one huge, tiny ones."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(n)
    drawn = {
        "normal": lambda: normal,
        "shifted": lambda: normal * 0.01 - 1,
        "laplace": lambda: rng.laplace(size=n),
        "student": lambda: rng.standard_t(3, n),
        "cauchy": lambda: rng.standard_cauchy(n).clip(-1e4, 1e4),
        "ties": lambda: normal.round(),
        "signs": lambda: np.where(normal < 0, -0.5, 0.5),
        "zeros": lambda: normal * 0,
        "sparse": lambda: normal * (rng.random(n) < 0.03),
        "outlier": lambda: np.where(np.arange(n) == n // 2, 6e4, normal),
        "subnormal": lambda: normal * 2.0**-148,
    }[kind]()
    return torch.from_numpy(np.ascontiguousarray(drawn))


KINDS = [
    "normal", "shifted", "laplace", "student", "cauchy", "ties", "signs", "zeros", "sparse", "outlier", "subnormal",
]  # fmt: skip


def kept(density: float, n: int) -> int:
    return min(n, max(1, int(density * n)))


def check(name: str, x: Tensor, density: float, selected: Tensor) -> None:
    """Ascending, within the stated number, and nothing left out that is larger than anything chosen."""
    _, least, most = RULES[name]
    k = kept(density, x.numel())
    assert selected.dtype == torch.int64
    assert bool((selected.diff() > 0).all())
    assert least * k <= selected.numel() <= most * k
    magnitudes = x.double().abs()
    left = torch.ones(x.numel(), dtype=torch.bool)
    left[selected] = False
    if 0 < selected.numel() < x.numel():
        assert magnitudes[selected].min() >= magnitudes[left].max()


@pytest.mark.parametrize("name", RULES)
@given(
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(DTYPES),
    n=st.integers(0, 600),
    density=st.floats(0, 1, exclude_min=True) | st.sampled_from([1e-300, 0.01, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 3),
)
def test_any_small_tensor(name: str, kind: str, dtype: torch.dtype, n: int, density: float, seed: int) -> None:
    x = draw(kind, n, seed).to(dtype)
    check(name, x, density, RULES[name][0](density).select(x, seed, {})[0])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("density", [0.001, 0.01, 0.05, 0.4])
def test_large_tensors(name: str, kind: str, density: float) -> None:
    for dtype in DTYPES:
        x = draw(kind, LARGE).to(dtype)
        selected, _ = RULES[name][0](density).select(x, 0, {})
        check(name, x, density, selected)
        assert torch.equal(RULES[name][0](density).select(-x, 0, {})[0], selected)
        if kind in ("zeros", "signs"):
            assert torch.equal(selected, torch.arange(kept(density, LARGE)))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("kind", ["normal", "laplace", "student", "ties"])
def test_the_scale_does_not_matter(name: str, kind: str) -> None:
    x = draw(kind, LARGE).float()
    rule = RULES[name][0](0.02)
    for scale in (2.0**-40, 2.0**40):
        assert torch.equal(rule.select(x * scale, 0, {})[0], rule.select(x, 0, {})[0])


@pytest.mark.parametrize("name", EXACT)
@given(values=st.lists(st.floats(-10, 10, width=16), min_size=1, max_size=40), density=st.floats(0.01, 1))
def test_exact_rules_capture_the_most_energy(name: str, values: list[float], density: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    selected, _ = RULES[name][0](density).select(x, 0, {})
    energy, k = x.square(), kept(density, x.numel())
    assert selected.numel() == k
    assert float(energy[selected].sum()) == pytest.approx(float(energy.sort().values[-k:].sum()), rel=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_more_than_a_float_can_count_in_one_bin(name: str) -> None:
    x = torch.full(((1 << 24) + (1 << 17),), 1e-9)
    x[: 1 << 20] += torch.arange(1 << 20) * 1e-16
    x[12345] = -1.0
    selected, _ = RULES[name][0](0.001).select(x, 0, {})
    check(name, x, 0.001, selected)
    assert 12345 in selected


@pytest.mark.parametrize("name", RULES)
def test_fewer_non_zeros_than_k(name: str) -> None:
    """A gradient of embeddings: 2 M elements, 99.5 k of them not zero, k = 100 k: all of those, and zeros."""
    x = torch.zeros(2_000_000)
    x.view(-1, 100)[::20][:995] = draw("normal", 99_500).float().view(-1, 100) + 10
    selected, history = RULES[name][0](0.05).select(x, 0, {})
    check(name, x, 0.05, selected)
    assert int(x[selected].count_nonzero()) == 99_500
    assert torch.equal(RULES[name][0](0.05).select(x, 0, history)[0], selected)


@pytest.mark.parametrize("name", RULES)
def test_accumulating_is_adding_and_selecting(name: str) -> None:
    residual, x = draw("laplace", LARGE, 1).float(), draw("student", LARGE, 2).float()
    total, rule = residual + x, RULES[name][0](0.01)
    expected, remembered = rule.select(total, 5, {})
    selected, history = rule.accumulate(residual, x, 5, {})
    assert torch.equal(residual, total)
    assert torch.equal(selected, expected)
    assert history.keys() == remembered.keys()


HISTORIES = {
    "a thousand times larger": lambda t: t * 1000,
    "a thousand times smaller": lambda t: t / 1000,
    "right": lambda t: t,
    "zero": lambda t: t * 0,
    "negative": lambda t: -t,
    "NaN": lambda t: t * math.nan,
    "infinite": lambda t: t * math.inf,
    "largest": lambda t: torch.full_like(t, 1.7e308),
    "smallest": lambda t: torch.full_like(t, 5e-324),
    "another shape": lambda t: t.expand(3),
    "empty": lambda t: t.expand(0),
    "integer": lambda t: torch.tensor(1),
    "complex": lambda t: t.to(torch.complex64),
    "float16": lambda t: t.to(torch.float16),
}


@pytest.mark.parametrize("change", HISTORIES)
@pytest.mark.parametrize("kind", [*KINDS[:7], "sparse", "outlier"])
def test_a_history_changes_nothing_but_the_time(kind: str, change: str) -> None:
    for n in (500, LARGE):
        x, rule = draw(kind, n).float(), tw.HggTopK(0.02)
        expected, history = rule.select(x, 0, {})
        wrong = {"threshold": HISTORIES[change](history["threshold"]), "stranger": torch.ones(2)}
        selected, learnt = rule.select(x, 0, wrong)
        assert torch.equal(selected, expected)
        assert torch.equal(learnt["threshold"], history["threshold"])


@pytest.mark.parametrize(
    "after", [lambda x: x * 1000, lambda x: -x, lambda x: x.flip(0), lambda x: x * 0, lambda x: x.roll(777) / 1000]
)
def test_what_follows_a_gradient_may_be_anything(after: Callable[[Tensor], Tensor]) -> None:
    for first, second in ((draw("student", LARGE), None), (torch.zeros(LARGE), draw("student", LARGE))):
        x = first.float()
        later = after(x if second is None else second.float())
        for name in RULES:
            rule = RULES[name][0](0.01)
            encoded, history = encode_with_history(rule, x, 0, {})
            again, _ = encode_with_history(rule, later, 0, history)
            check(name, later, 0.01, tw.decode(again.parts["indices"]))
            assert encoded.codec == again.codec == tw.Sparse() or name == "topk"


def test_hggtopk_remembers_one_number() -> None:
    _, history = tw.HggTopK(0.01).select(draw("normal", LARGE), 0, {})
    assert history.keys() == {"threshold"}
    assert (history["threshold"].shape, history["threshold"].dtype) == ((), torch.float64)
    assert tw.HggTopK(0.01).select(torch.zeros(100), 0, history)[1] == {}


def gaussian_as_published(x: Tensor, k: int, loops: int) -> Tensor:
    """2019: a quantile of the normal distribution, then halved or raised by half while the count is off."""
    share = k / x.numel()
    threshold = x.mean() + x.std(correction=0) * torch.special.ndtri(torch.tensor(1 - share / 2, dtype=torch.float64))
    for _ in range(loops):
        selected = (x.abs() > threshold).nonzero().view(-1)
        if selected.numel() < 2 * k / 3:
            threshold *= 0.5
        elif selected.numel() > 4 * k / 3:
            threshold *= 1.5
        else:
            break
    return selected


def redsync_as_published(x: Tensor, k: int) -> Tensor:
    mean, most, low, high = x.abs().mean(), x.abs().max(), 0.0, 1.0
    while high - low > 0.2:
        middle = low + (high - low) / 2
        selected = (x.abs() > mean + middle * (most - mean)).nonzero().view(-1)
        if k < selected.numel() < 2 * k:
            break
        low, high = (low, middle) if selected.numel() < k / 2 else (middle, high)
    return selected


@pytest.mark.parametrize("kind", ["normal", "laplace", "student"])
@pytest.mark.parametrize("density", [0.003, 0.01, 0.03, 0.1, 0.3])
def test_where_the_published_rules_hit_ours_select_the_same(kind: str, density: float) -> None:
    x, k = draw(kind, LARGE, 4), kept(density, LARGE)
    x *= x.mean().sign()  # ours takes the mean's magnitude, so that the sign of a gradient does not matter
    for loops in (3, 5):
        published = gaussian_as_published(x, k, loops)
        selected, _ = tw.Gaussian(density, adjustments=loops).select(x, 0, {})
        hit = 2 * k / 3 <= published.numel() <= 4 * k / 3
        assert torch.equal(selected, published) if hit else selected.numel() <= 4 * k / 3
    published = redsync_as_published(x, k)
    selected, _ = tw.RedSync(density).select(x, 0, {})
    if k < published.numel() < 2 * k:
        assert torch.equal(selected, published)


def test_redsync_searches_downwards_where_too_few_reach_the_middle() -> None:
    """As published it goes on upwards between k/2 and k, where fewer still are."""
    x = torch.full((1000,), 0.1)
    x[100], x[200:207], x[300:305] = 100.0, 60.0, 40.0
    assert redsync_as_published(x, 10).numel() < 10
    assert tw.RedSync(0.01).select(x, 0, {})[0].tolist() == [100, *range(200, 207), *range(300, 305)]


@pytest.mark.parametrize("name", RULES)
def test_magnitudes_whose_squares_or_sums_overflow(name: str) -> None:
    for scale in (1e200, 1e304, 1e-200):
        x = draw("student", LARGE) * scale
        check(name, x, 0.01, RULES[name][0](0.01).select(x, 0, {})[0])


def test_the_density_decides_where_a_normal_tensor_is_cut() -> None:
    x = draw("normal", LARGE)
    for density in (0.001, 0.01, 0.05, 0.2, 0.5):
        selected, _ = tw.Gaussian(density, adjustments=0).select(x, 0, {})
        assert selected.numel() != kept(density, LARGE)  # not the fallback
        assert selected.numel() == pytest.approx(density * LARGE, rel=0.15)


def hggtopk_by_its_formula(x: Tensor, k: int, rule: tw.HggTopK) -> Tensor:
    """A full histogram over the bins, in float64: slow and plain."""
    magnitudes = x.double().abs()
    exponents = torch.arange(rule.bins + 1, dtype=torch.float64) / rule.bins
    edges = float(magnitudes.max()) * ((1 + rule.gamma) ** exponents - 1) / rule.gamma
    reaching = [int((magnitudes >= edge).sum()) for edge in edges[:-1]] + [0]
    j = max(j for j in range(rule.bins) if reaching[j] >= k)
    above, inside = reaching[j + 1], reaching[j] - reaching[j + 1]
    threshold = edges[j] + (edges[j + 1] - edges[j]) * (1 - (k - above) / inside) * rule.beta
    selected = (magnitudes >= threshold).nonzero().view(-1)
    if k - int(rule.tolerance * k) <= selected.numel() <= k:
        return selected
    return magnitudes.sort(descending=True, stable=True).indices[:k].sort().values


@pytest.mark.parametrize("kind", ["normal", "laplace", "student", "cauchy", "sparse", "outlier"])
@pytest.mark.parametrize(
    "fields", [{}, {"bins": 50}, {"bins": 9, "gamma": 3.0, "tolerance": 0.3, "beta": 1.0}], ids=str
)
def test_hggtopk_is_its_formula(kind: str, fields: dict[str, float]) -> None:
    x = draw(kind, 30_000, 6)
    for density in (0.001, 0.01, 0.03, 0.2):
        rule = tw.HggTopK(density, **fields)
        expected = hggtopk_by_its_formula(x, kept(density, x.numel()), rule)
        assert torch.equal(rule.select(x, 0, {})[0], expected)


def test_hggtopk_without_tolerance_is_topk() -> None:
    for kind in KINDS:
        x = draw(kind, LARGE).float()
        assert torch.equal(tw.HggTopK(0.01, tolerance=0).select(x, 0, {})[0], tw.TopK(0.01).select(x, 0, {})[0])


def test_dgcsampling_of_everything_is_topk() -> None:
    x = draw("student", LARGE)
    for density in (0.001, 0.01, 0.3):
        assert torch.equal(
            tw.DGCSampling(density, sample=1.0).select(x, 0, {})[0], tw.TopK(density).select(x, 0, {})[0]
        )


@pytest.mark.parametrize("period", [2, 3, 37, 100, 128, 1000])
def test_a_sample_sees_every_column(period: int) -> None:
    """One column of a matrix holds all that is large: a sample at a fixed stride would see all of it or nothing."""
    x = torch.ones(200_000)
    x[::period] = 5.0
    sampled = spread(x, 20_000)
    assert float((sampled == 5.0).double().mean()) == pytest.approx(1 / period, rel=0.2, abs=2e-4)


@pytest.mark.parametrize(("n", "count"), [(1, 1), (5, 0), (5, 9), (10, 6), (10, 5), (1000, 7)])
def test_a_sample_is_large_enough_and_inside(n: int, count: int) -> None:
    x = -torch.arange(1.0, n + 1)
    sampled = spread(x, count)
    assert count <= sampled.numel() <= n or sampled.numel() == n
    assert set(sampled.tolist()) <= set((-x).tolist())


@pytest.mark.parametrize(
    "text",
    [
        "Gaussian(0.01, adjustments=-1)", "Gaussian(0.01, adjustments=2.5)", "Gaussian(0)", "RedSync(1.5)",
        "RedSync(0.1, trim=1)", "DGCSampling(0.1, sample=0)", "DGCSampling(True)", "HggTopK(0.1, bins=0)",
        "HggTopK(0.1, bins=10.0)", "HggTopK(0.1, gamma=0)", "HggTopK(0.1, gamma=1e999)",
        "HggTopK(0.1, tolerance=1)", "HggTopK(0.1, beta=-0.1)", "HggTopK(0.1, beta=1.1)", "HggTopK('x')",
    ],
)  # fmt: skip
def test_fields_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        tw.parse(text)


ALL = [*(make(0.05) for make, _, _ in RULES.values()), tw.ReusedThreshold(0.05), tw.ChunkTopK(4, 64), tw.Threshold(0.5)]


@pytest.mark.parametrize("rule", ALL, ids=str)
@pytest.mark.parametrize("lengths", [(), (1,), (300, 1, 0, 5000), (6000, 20_000)])
def test_of_consecutive_segments_each_is_selected_from_alone(rule: Sparsifier, lengths: tuple[int, ...]) -> None:
    parts = [draw("student", n, seed).float() for seed, n in enumerate(lengths)]
    histories: list[State] = [{} for _ in parts]
    for step in range(2):
        seeds = [17 * step + at for at in range(len(parts))]
        found = rule.select_each(torch.cat([*parts, torch.zeros(0)]), lengths, seeds, histories)
        alone = [rule.select(*one) for one in zip(parts, seeds, histories, strict=True)]
        for (places, history), (own, remembered) in zip(found, alone, strict=True):
            assert torch.equal(places, own)
            assert history.keys() == remembered.keys()
            assert all(torch.equal(history[key], remembered[key]) for key in history)
        histories = [history for _, history in found]
