"""PowerSGD: a basis from sums of thin factors, warm from the last call."""

from __future__ import annotations

import pytest
import torch
from exchanged_buckets import float64_mean
from torch import Tensor

from thinwire import parse
from thinwire.codec import Codec, State, generator
from thinwire.errors import WireError
from thinwire.exchange.drive import SumAll, driven
from thinwire.exchange.power import power
from thinwire.exchange.requests import Place
from thinwire.exchange.simulate import Simulation, simulated
from thinwire.testing.tensors import suited

RANK2 = parse("LowRank(rank=2)")


def of_rank(rank: int, m: int, n: int) -> Tensor:
    left, right = (torch.randn(side, rank, generator=generator(side), dtype=torch.float64) for side in (m, n))
    return (left @ right.T).float()


def stepped(tensors: list[Tensor], codec: Codec, steps: int, past: State | None = None) -> Simulation:
    history = past or {}
    for step in range(steps):
        done = simulated([{"x": x} for x in tensors], codec, step, [{"x": history}] * len(tensors))
        assert done.choices["x"].name == "power"
        history = done.averages[0]["x"].history
    return done


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("shape", [(40, 30), (30, 70), (8, 4, 5)])
def test_a_matrix_of_the_rank_is_exact_after_two_steps(world: int, shape: tuple[int, ...]) -> None:
    x = of_rank(2, shape[0], torch.Size(shape[1:]).numel()).reshape(shape)
    for scale in (1.0, 1e-25, 1e25):
        mean = stepped([x * scale] * world, RANK2, 2).averages[0]["x"].mean
        assert float((mean - x * scale).double().norm()) <= 1e-5 * float((x * scale).double().norm())


def test_zeros_give_zeros_and_never_nan_and_do_not_haunt_the_next_step() -> None:
    zeros, x = torch.zeros(40, 30), of_rank(2, 40, 30)
    done = stepped([zeros] * 3, RANK2, 2)
    past = done.averages[0]["x"].history
    assert all(not averages["x"].mean.any() and not averages["x"].contributed.any() for averages in done.averages)
    mean = stepped([x, zeros, x], RANK2, 2, past).averages[0]["x"].mean
    assert torch.allclose(mean, x * 2 / 3, atol=1e-4)


def test_warm_starts_come_near_the_best_matrix_of_the_rank() -> None:
    tensors = [suited("update", (60, 40), seed=rank) for rank in range(3)]
    truth = float64_mean(tensors)
    best = float(torch.linalg.svdvals(truth)[4:].norm())
    errors = [
        float((stepped(tensors, parse("LowRank(rank=4)"), n).averages[0]["x"].mean - truth).norm()) for n in (1, 20)
    ]
    assert best <= errors[1] <= 1.02 * best
    assert errors[1] < errors[0]


def test_ratio_and_half_precision() -> None:
    tensors = [suited("update", (40, 32), torch.bfloat16, seed) for seed in range(2)]
    done = stepped(tensors, parse("LowRank(ratio=0.1)"), 1)
    assert done.averages[0]["x"].mean.dtype == torch.float32
    assert done.averages[0]["x"].history["right"].shape == (32, 4)


@pytest.mark.parametrize("past", [torch.full((30, 2), float("nan")), torch.zeros(30, 3), torch.zeros(30, 2)])
def test_a_past_that_does_not_fit_is_ignored(past: Tensor) -> None:
    x = of_rank(2, 40, 30)
    assert torch.allclose(stepped([x, x], RANK2, 1, {"right": past}).averages[0]["x"].mean, x, atol=1e-3)


def test_a_sum_that_is_not_finite_is_refused() -> None:
    driving = driven({"w": power(RANK2, torch.ones(40, 30), Place(0, 2), 1, {})}, 2)
    operation = next(driving)
    assert isinstance(operation, SumAll)
    again = driving.send([operation.flats[0] * float("inf")])
    assert isinstance(again, SumAll)
    with pytest.raises(WireError, match=r"^w: a sum over ranks is not finite"):
        driving.send([again.flats[0] * float("inf")])
