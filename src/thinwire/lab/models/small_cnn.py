"""A small convolutional network without batch norm, for images of any size and number of channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from thinwire.lab.tasks.weights import by_layer

WIDTHS = (32, 64, 128, 256)


class SmallCNN(nn.Module):
    """Logits [B, classes] of images [B, channels, H, W]: four 3x3 convolutions, a pool after each of the first three.

    0.39 million parameters. It has no buffers, so that a step changes parameters and nothing else.
    """

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in WIDTHS:
            layers += [nn.MaxPool2d(2, ceil_mode=True)] if layers else []
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


def draw(model: nn.Module, generator: torch.Generator) -> None:
    """Draw weights as He et al. 2015 (arXiv:1502.01852): without batch norm, PyTorch's own fade within four layers."""
    by_layer(model, generator)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            layer.weight.mul_(math.sqrt(6))
            layer.bias.zero_()
