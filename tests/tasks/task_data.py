"""Real data where this machine has it, and plain federated averaging to learn from it."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch

from thinwire.lab.tasks import Task, Training, partition
from thinwire.lab.tasks.base import Data

REAL = Path(os.environ.get("THINWIRE_DATA") or Path(__file__).parents[3] / "shared" / "data")


def real(path: str) -> Path:
    if not (REAL / path).exists():
        pytest.skip(f"no {path} under THINWIRE_DATA or ../shared/data")
    return REAL


def federated(task: Task, data: Data, training: Training, seed: int = 0) -> torch.nn.Module:
    """Plain federated averaging, weighted by rows."""
    parts = partition(training.partition)(data.classes, training.clients, seed)
    model = task.model(seed)
    for round_ in range(training.rounds):
        states = []
        for client, part in enumerate(parts):
            local = copy.deepcopy(model)
            task.train(local, tuple(column[part] for column in data.train), training, seed=round_ * 100 + client)
            states.append((len(part) / len(data.train[-1]), local.state_dict()))
        model.load_state_dict({name: sum(share * state[name] for share, state in states) for name in states[0][1]})
    return model
