"""Runs with a loss scale."""

from __future__ import annotations

from typing import Any

import torch
from trainings import Training, spoilt


def scaled(group: Any, scale: float | None) -> str:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2) if scale else None
    training = Training(group, "topk", 0.05, scaler=scaler)
    for step in range(4):
        scaled_step(training, scaler, step)
    return training.digest()


def scaled_step(training: Training, scaler: torch.amp.GradScaler | None, step: int) -> None:
    training.optimizer.zero_grad()
    loss = training.loss(step)
    if scaler is None:
        loss.backward()
        training.optimizer.step()
    else:
        scaler.scale(loss).backward()
        scaler.step(training.optimizer)
        scaler.update()


def overflow_on_rank_0(group: Any) -> tuple[bool, bool, float, str]:
    """Return whether the step was skipped and the state stayed, the scale after it, and the parameters later."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    training = Training(group, "topk", 0.05, scaler=scaler)
    scaled_step(training, scaler, 0)
    digest, kept = training.digest(), training.compression.state_dict()["residual/first.weight"]
    with spoilt(training.net.first.weight, training.rank == 0):
        scaled_step(training, scaler, 1)
    skipped = training.digest() == digest
    same = torch.equal(kept, training.compression.state_dict()["residual/first.weight"])
    after = scaler.get_scale()
    scaled_step(training, scaler, 2)
    return skipped, same, after, training.digest()
