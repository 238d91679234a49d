"""A reused threshold: exact now and then, nudged in between, found anew at once where the gradients have changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from thinwire import Compressor, Fixed, ReusedThreshold, Signals, TopK
from thinwire.codec import State, generator
from thinwire.codecs.sparse.pairs import kept_count

N, DENSITY = 20_000, 0.02
K = kept_count(DENSITY, N)


def gradient(step: int, jump_at: int) -> Tensor:
    scale = 1000.0 if step >= jump_at else 1.0
    return torch.randn(N, generator=generator(step), dtype=torch.float64) ** 3 * scale


def obvious(x: Tensor, threshold: float | None, age: int, refresh: int) -> tuple[int, float, int]:
    """The rule in plain words: return how many are sent, the threshold and its age."""
    magnitudes = x.abs()
    if threshold is not None and age + 1 < refresh:
        for _ in range(5):
            if int((magnitudes >= threshold).sum()) > 4 * K / 3:
                threshold *= 1.03
        count = int((magnitudes >= threshold).sum())
        if 2 * K / 3 <= count <= 4 * K / 3:
            return count, threshold, age + 1
    return K, float(magnitudes.sort(descending=True).values[K - 1]), 0


@pytest.mark.parametrize("refresh", [1, 8, 32])
def test_a_hundred_steps_of_error_feedback_with_a_jump_of_1000(refresh: int) -> None:
    codec, residual = ReusedThreshold(DENSITY, refresh=refresh), torch.zeros(N, dtype=torch.float64)
    history: State = {}
    threshold, age, reused = None, 0, 0
    for step in range(100):
        residual += gradient(step, jump_at=52)
        count, threshold, age = obvious(residual, threshold, age, refresh)
        before = {key: value.clone() for key, value in history.items()}
        selected, new = codec.select(residual, 0, history)
        assert all(torch.equal(history[key], before[key]) for key in before)
        history = new
        assert selected.numel() == count
        assert float(history["threshold"]) == pytest.approx(threshold)
        assert int(history["step"]) == age
        assert torch.equal(selected, (residual.abs() >= threshold).nonzero().view(-1))
        assert age == 0 if step in (0, 52) else True
        reused += age > 0
        residual[selected] = 0
    assert (reused > 60) == (refresh > 1)


def test_a_threshold_a_little_too_low_is_nudged() -> None:
    x = torch.randn(N, generator=generator(0), dtype=torch.float64)
    low = float(x.abs().sort(descending=True).values[2 * K])
    history = {"threshold": torch.tensor(low, dtype=torch.float64), "step": torch.tensor(3)}
    selected, history = ReusedThreshold(DENSITY).select(x, 0, history)
    nudges = torch.log(history["threshold"] / low) / torch.log(torch.tensor(1.03))
    assert 1 <= round(float(nudges)) <= 5
    assert K < selected.numel() <= 4 * K / 3
    assert int(history["step"]) == 4


WRONG = (
    {"threshold": torch.tensor(float("nan"))},
    {"threshold": torch.tensor(float("inf")), "step": torch.tensor(1)},
    {"threshold": torch.tensor(-1.0), "step": torch.tensor(1)},
    {"threshold": torch.tensor(0.0), "step": torch.tensor(1)},
    {"threshold": torch.tensor(1e300, dtype=torch.float64), "step": torch.tensor(1)},
    {"threshold": torch.tensor(1e-300, dtype=torch.float64), "step": torch.tensor(1)},
    {"threshold": torch.ones(3), "step": torch.ones(0)},
    {"step": torch.tensor(5)},
    {"threshold": torch.tensor(1.0), "step": torch.tensor(-(1 << 60))},
    {"threshold": torch.tensor(1.0), "step": torch.tensor(float("nan"))},
    {"other": torch.zeros(2)},
)


@pytest.mark.parametrize("history", WRONG)
def test_a_history_that_is_wrong_costs_nothing_but_time(history: State) -> None:
    x = torch.randn(N, generator=generator(1)) * 1e-3
    assert torch.equal(ReusedThreshold(DENSITY).select(x, 0, history)[0], TopK(DENSITY).select(x, 0, {})[0])


def test_the_compressor_carries_the_history() -> None:
    compressor = Compressor(Fixed(ReusedThreshold(DENSITY)))
    state: State = {}
    ages = []
    for round_ in range(1, 36):
        x = gradient(round_, jump_at=1000).reshape(100, 200)
        message, state, _ = compressor.compress({"w": x}, state, Signals(round=round_))
        assert 2 * K / 3 <= message["w"].size <= 4 * K / 3
        ages.append(int(state["history/w/step"]))
    assert ages[0] == 0
    assert max(ages) > 5
    assert ages.count(0) < 10
