"""What training remembers, as flat tensors by name, and back: the optimizer's state and the random generators'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from thinwire.codec import State, derive_seed


def of_optimizer(optimizer: torch.optim.Optimizer) -> State:
    """Return ``<number of the parameter>/<name>`` -> tensor. Settings are not among it: the config has them."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": x for number, kept in state.items() for name, x in kept.items() if isinstance(x, Tensor)
    }


def into_optimizer(state: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Put what ``of_optimizer`` returned into a fresh optimizer of the same parameters."""
    kept: dict[int, dict[str, Any]] = {}
    for path, x in state.items():
        number, _, name = path.partition("/")
        kept.setdefault(int(number), {})[name] = x
    optimizer.load_state_dict({"state": kept, "param_groups": optimizer.state_dict()["param_groups"]})


def of_generators(device: torch.device) -> State:
    """Return the states of torch's global generators, which dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def into_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put them back."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def seeded_generators(seed: int, name: str, device: torch.device) -> State:
    """Return the states of generators seeded from ``seed`` and ``name``, for a worker's own process."""
    number = derive_seed(seed, name)
    states = {"cpu": torch.Generator().manual_seed(number).get_state()}
    cuda = {"cuda": torch.Generator("cuda").manual_seed(number).get_state()} if device.type == "cuda" else {}
    return states | cuda


def put(state: Mapping[str, Tensor], model: nn.Module) -> None:
    """Load a model's parameters and buffers, all of them."""
    model.load_state_dict(dict(state))
