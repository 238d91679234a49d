"""Runs that are saved and go on."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from trainings import METHODS, Training

from thinwire.codec import State


def save(group: Any, name: str, steps: int) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Train; return model and compression as they are after 3 steps, and the parameters after all."""
    training = Training(group, *METHODS[name])
    for step in range(steps):
        training.step(step)
        if step == 2:
            model = {key: x.clone() for key, x in training.net.state_dict().items()}
            state = training.compression.state_dict()
    return model, state, training.digest()


def resume(group: Any, name: str, steps: int, model: dict[str, Any], states: list[State]) -> str:
    training = Training(group, *METHODS[name])
    training.net.load_state_dict(model)
    same = len(states) == dist.get_world_size(group)
    training.compression.load_state_dict(states[training.rank] if same else states)
    for step in range(3, steps):
        training.step(step)
    return training.digest()
