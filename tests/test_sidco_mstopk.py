"""SIDCo's models find the threshold of the distributions they assume; MSTopK counts its way to it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from thinwire import MSTopK, SIDCo, TopK
from thinwire.codec import generator
from thinwire.kernels import select

N = 200_000


def uniform(seed: int) -> Tensor:
    return torch.rand(N, generator=generator(seed), dtype=torch.float64).clamp(min=1e-12)


def sent(codec: SIDCo | MSTopK | TopK, x: Tensor, seed: int = 0) -> list[int]:
    return codec.select(x, seed, {})[0].tolist()


@pytest.fixture
def no_exact_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(x: Tensor, k: int) -> Tensor:
        raise AssertionError("the model missed and exact selection had to mend it")

    monkeypatch.setattr(select, "largest", refuse)


@pytest.mark.usefixtures("no_exact_selection")
@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.5])
def test_a_model_hits_its_own_distribution(density: float) -> None:
    exponential = -uniform(1).log()
    heavy = (uniform(2) ** -0.2 - 1) / 0.2  # generalised Pareto of shape 0.2
    gamma = torch.special.ndtri(uniform(3)).square()  # chi-square with one degree: gamma of shape one half
    for model, x in (("exponential", exponential), ("pareto", heavy), ("pareto", exponential), ("gamma", gamma)):
        count = len(sent(SIDCo(density, model=model, tolerance=0.15), x))  # type: ignore[arg-type]
        assert count == pytest.approx(density * N, rel=0.15), model


@pytest.mark.usefixtures("no_exact_selection")
@pytest.mark.parametrize("model", ["exponential", "gamma", "pareto"])
def test_real_looking_tails_need_no_mending(model: str) -> None:
    normal = torch.special.ndtri(uniform(4))
    for x in (normal, normal**3 if model != "exponential" else normal, -uniform(5).log()):
        for density in (0.01, 0.001):
            assert len(sent(SIDCo(density, model=model), x.float()))  # type: ignore[arg-type]


def test_the_published_first_stage() -> None:
    """With one stage and a share of more than a quarter the threshold is a formula."""
    x = torch.randn(N, generator=generator(6), dtype=torch.float64)
    mean, variance = float(x.abs().mean()), float(x.abs().var(correction=0))
    shape, scale = (1 - mean**2 / variance) / 2, mean / 2 * (mean**2 / variance + 1)
    skew = math.log(mean) - float(x.abs().log().mean())
    alpha = (3 - skew + math.sqrt((skew - 3) ** 2 + 24 * skew)) / (12 * skew)
    thresholds = {
        "exponential": mean * math.log(1 / 0.3),
        "pareto": scale / shape * (math.exp(-shape * math.log(0.3)) - 1),
        "gamma": -mean / alpha * (math.log(0.3) + math.lgamma(alpha)),
    }
    for model, threshold in thresholds.items():
        codec = SIDCo(0.3, model=model, stages=1, tolerance=0.99)  # type: ignore[arg-type]
        assert abs(len(sent(codec, x)) - int((x.abs() >= threshold).sum())) <= 2


def test_where_the_model_misses_the_k_largest_are_sent() -> None:
    """Two magnitudes, far apart: no exponential has such a tail."""
    x = torch.where(torch.arange(N) % 7 == 0, 1.0, 1e-4) + 1e-6 * uniform(7).float()
    assert sent(SIDCo(0.01), x) == sent(TopK(0.01), x)
    assert sent(SIDCo(0.3, tolerance=0.0), x) == sent(TopK(0.3), x)


@pytest.mark.parametrize("density", [0.001, 0.05, 0.5, 0.9])
def test_bisection_finds_the_k_largest_of_different_magnitudes(density: float) -> None:
    x = torch.special.ndtri(uniform(8))
    assert sent(MSTopK(density), x) == sent(TopK(density), x)


@pytest.mark.parametrize(("probes", "resolved"), [(1, False), (2, False), (3, True), (4, True), (5, True)])
def test_few_probes_send_all_above_the_bracket_and_a_run_inside_it(probes: int, resolved: bool) -> None:
    x = torch.randn(5000, generator=generator(9), dtype=torch.float64)
    k = 250
    low, high = float(x.abs().mean()), float(x.abs().max())
    for _ in range(probes):
        middle = (low + high) / 2
        low, high = (middle, high) if int((x.abs() >= middle).sum()) >= k else (low, middle)
    above = set((x.abs() >= high).nonzero().view(-1).tolist())
    inside = ((x.abs() >= low) & (x.abs() < high)).nonzero().view(-1).tolist()
    assert resolved == (len(above) + len(inside) <= 2 * k)
    draws = [sent(MSTopK(0.05, probes=probes), x, seed) for seed in range(5)]
    for draw in draws if resolved else ():
        run = [place for place in draw if place not in above]
        assert len(draw) == k
        assert above <= set(draw)
        assert run == inside[inside.index(run[0]) :][: len(run)]
    assert resolved or all(draw == sent(TopK(0.05), x) for draw in draws)
    assert (len({tuple(draw) for draw in draws}) > 1) == resolved


def test_an_outlier_does_not_blind_the_bisection() -> None:
    x = torch.randn(50_000, generator=generator(10))
    x[777] = 1e30
    assert sent(MSTopK(0.01), x) == sent(TopK(0.01), x)
