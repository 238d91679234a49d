"""What is usual for a kind of model, and the optimizers that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True)
class Usual:
    """Settings of a kind of model that nobody gave."""

    optimizer: str
    lr: float
    momentum: float
    weight_decay: float


USUAL: Mapping[str, Usual] = {
    "image": Usual("sgd", lr=0.05, momentum=0.9, weight_decay=5e-4),
    "text": Usual("adamw", lr=1e-3, momentum=0.9, weight_decay=0.01),
}
"""``momentum`` is AdamW's first beta."""


def optimizer(
    name: str, parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer called ``name``; of AdamW, ``momentum`` is the first beta."""
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)
    return torch.optim.AdamW(parameters, lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay)
