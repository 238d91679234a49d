"""What ranks do in the tests of plans that rank 0 makes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from scalers import scaled_step
from torch import Tensor, nn
from trainings import Training, data, raised, spoilt

from thinwire import Codec, LowRank, Raw, Signals, Spec, Step, TopK, Uniform
from thinwire.codec import State

Settings = dict[str, Any] | None


@dataclass(frozen=True)
class Wilful:
    """Looks at the data and draws anew for every tensor, on every rank and at every call something else."""

    def plan(self, specs: dict[str, Spec], signals: Signals) -> dict[str, Codec]:
        draws = random.Random(hash(tuple(signals.energies.values())) + dist.get_rank())
        codecs = (Raw(), TopK(0.1), LowRank(rank=2), Uniform(bits=4, block=64), Step(nmse=0.1))
        return {name: draws.choice(codecs) for name in specs}


@dataclass(frozen=True)
class ByLoss:
    """The codec says what the policy was told: bits are the loss, rounded; counts its calls in what it keeps."""

    def plan(self, specs: dict[str, Spec], signals: Signals) -> dict[str, Codec]:
        bits = 16 if signals.loss is None else min(max(round(signals.loss), 1), 16)
        return dict.fromkeys(specs, Uniform(bits=bits))

    def keep(self, signals: Signals) -> State:
        return {"calls": signals.kept.get("calls", torch.tensor(0)) + 1}


class Net(nn.Module):
    """Matrices large enough that a budget is about them and not about frames."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(37, 200), nn.Linear(200, 150), nn.Linear(150, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


def train(training: Training, steps: range, losses: bool = False) -> list[str]:
    found = []
    for step in steps:
        training.optimizer.zero_grad()
        loss = training.loss(step)
        if losses:
            training.compression.note(loss=loss.item())
        loss.backward()
        training.optimizer.step()
        found.append(training.digest())
    return found


def digests(group: Any, method: Any, steps: int, losses: bool = False, settings: Settings = None) -> list[str]:
    return train(Training(group, method, **(settings or {})), range(steps), losses)


def plans(group: Any, method: Any, steps: int, settings: Settings = None) -> tuple[list[dict[str, str]], list[str]]:
    """Return the plan of every step, and the parameters after it."""
    training, seen, found = Training(group, method, **(settings or {})), [], []
    for step in range(steps):
        found += train(training, range(step, step + 1))
        seen.append({name: str(codec) for name, codec in training.compression.plan.items()})
    return seen, found


def spent(group: Any, method: Any, steps: int) -> tuple[float, list[int], list[int], str, list[str]]:
    """Return the budget, the bytes encoded and those sent of every step, the report, and the parameters."""
    training = Training(group, method, net=Net())
    found, compression = train(training, range(steps)), training.compression
    encoded, sent = ([getattr(x, key) for x in compression.steps] for key in ("encoded_bytes", "sent_bytes"))
    return compression.budget_bytes, encoded, sent, compression.report(), found


def save(group: Any, method: Any, at: int, steps: int, settings: Settings = None) -> tuple[Any, Any, list[str]]:
    """Train; return model and compression as they are after ``at`` steps, and the parameters after each."""
    training = Training(group, method, **(settings or {}))
    found = train(training, range(at), losses=True)
    model = {key: x.clone() for key, x in training.net.state_dict().items()}
    state = training.compression.state_dict()
    return model, state, found + train(training, range(at, steps), losses=True)


def resume(
    group: Any, method: Any, at: int, steps: int, model: Any, states: list[State], settings: Settings = None
) -> list[str]:
    training = Training(group, method, **(settings or {}))
    training.net.load_state_dict(model)
    same = len(states) == dist.get_world_size(group)
    training.compression.load_state_dict(states[training.rank] if same else states)
    return train(training, range(at, steps), losses=True)


def told_losses(group: Any, losses: list[float], replan_steps: int) -> list[str]:
    """Return the first codec of every step; only rank 0 is told the losses."""
    training, seen = Training(group, ByLoss(), replan_steps=replan_steps), []
    for step, loss in enumerate(losses):
        if training.rank == 0:
            training.compression.note(loss=loss)
        train(training, range(step, step + 1))
        seen.append(str(next(iter(training.compression.plan.values()))))
    return seen


def nan_where_a_plan_is_due(group: Any, rank: int, use_pipeline: bool) -> tuple[str, str, str, str]:
    """Return the error of the first step and of a later one, which plan, and the parameters after two more."""
    training = Training(group, "ByteBudget(ratio=8, codec=Step())", use_pipeline=use_pipeline, replan_steps=2)
    texts = []
    for step in range(2):
        with spoilt(training.net.second.weight, training.rank == rank):
            texts.append(str(raised(lambda step=step: train(training, range(step, step + 1)))))
        assert training.compression.plan is None or step == 1
        train(training, range(step, step + 2))
    return *texts, training.digest(), str(training.compression.plan)


def overflow_where_a_plan_is_due(group: Any, rank: int) -> tuple[bool, str]:
    """Return whether the first step was skipped, and the parameters after two more."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    training = Training(group, "ByteBudget(ratio=8, codec=Step())", scaler=scaler)
    digest = training.digest()
    with spoilt(training.net.first.weight, training.rank == rank):
        scaled_step(training, scaler, 0)
    skipped = training.digest() == digest and training.compression.plan is None
    scaled_step(training, scaler, 1)
    scaled_step(training, scaler, 2)
    return skipped, training.digest()


def one_has_another_policy(group: Any) -> None:
    method = "ByteBudget(ratio=8)" if dist.get_rank(group) else "ErrorBound(nmse=0.1, whole=True)"
    Training(group, method).step(0)


def unused(group: Any) -> tuple[list[str], float]:
    """The side layer has no gradient where the plan is made, and one later."""
    training, found = Training(group, "ByteBudget(ratio=8, codec=Step())", unused=True), []
    for step in range(6):
        training.step(step, side=step > 1)
        found.append(training.digest())
    return found, training.compression.last.encoded_bytes / training.compression.budget_bytes


def mean_error(group: Any, method: Any, steps: int) -> float:
    """Return the largest relative error of a step's averages from the mean of the gradients; without feedback."""
    training, worst = Training(group, method), 0.0
    for step in range(steps):
        shares = []
        for rank in range(dist.get_world_size(group)):
            x, y = data(step, rank)
            alone = [p for p in training.net.parameters() if p.requires_grad]
            shares.append(torch.autograd.grad((training.net(x) - y).square().mean(), alone))
        means = [sum(each) / len(each) for each in zip(*shares, strict=True)]
        training.loss(step).backward()
        given = list(training.gradients().values())
        error = sum(float((a - b).square().sum()) for a, b in zip(given, means, strict=True))
        worst = max(worst, error / sum(float(m.square().sum()) for m in means))
        training.optimizer.step()
        training.optimizer.zero_grad()
    return worst
