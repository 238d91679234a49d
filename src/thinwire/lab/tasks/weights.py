"""Initial weights that depend on a seed and on nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

EMBEDDING_STD = 0.05

Draw = Callable[[nn.Module, torch.Generator], None]
"""Gives every parameter and buffer of a model its first value."""


def by_layer(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of a model of layers that there is a rule for.

    Linear and Conv2d draw weight and bias from U(-b, b), b = 1 / sqrt(fan-in), LSTM likewise with its hidden size, as
    PyTorch does by default; Embedding draws from N(0, 0.05^2); EmbeddingBag, here always a linear model, starts at
    zero; LayerNorm and BatchNorm2d change nothing at first. Raises TypeError for a layer of any other kind that has
    parameters or buffers.
    """
    for layer in model.modules():
        _draw(layer, generator)


def initialised(architecture: Callable[[], nn.Module], seed: int, draw: Draw = by_layer) -> nn.Module:
    """Build a model with weights that `draw` takes from `seed`."""
    # On the meta device the layers' own initialisers draw nothing, so that the global random state stays untouched.
    with torch.device("meta"):
        model = architecture()
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        draw(model, generator)
    return model


def _draw(layer: nn.Module, generator: torch.Generator) -> None:
    if isinstance(layer, nn.Linear | nn.Conv2d):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    elif isinstance(layer, nn.Embedding):
        layer.weight.normal_(0, EMBEDDING_STD, generator=generator)
    elif isinstance(layer, nn.EmbeddingBag):
        layer.weight.zero_()
    elif isinstance(layer, nn.LSTM):
        for parameter in layer.parameters():
            parameter.uniform_(-(layer.hidden_size**-0.5), layer.hidden_size**-0.5, generator=generator)
    elif isinstance(layer, nn.LayerNorm | nn.BatchNorm2d):
        layer.reset_parameters()
    elif [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]:
        raise TypeError(f"no rule for the initial weights of {type(layer).__name__}; add one to {__name__}")
