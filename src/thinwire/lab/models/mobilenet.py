"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) with the strides for small images."""

from __future__ import annotations

from torch import Tensor, nn

from thinwire.lab.models.resnet import convolved

STEM, LAST = 32, 1280
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, width, blocks, stride of the first: the paper's, but that the stem and the second stage halve nothing."""


class InvertedResidual(nn.Module):
    """1x1 up to `expansion` times the width, 3x3 by channel, 1x1 down; added to the input where shapes agree."""

    def __init__(self, inputs: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        up = [] if expansion == 1 else [*convolved(inputs, inner, 1), nn.ReLU6(inplace=True)]
        by_channel = [*convolved(inner, inner, 3, stride, groups=inner), nn.ReLU6(inplace=True)]
        self.path = nn.Sequential(*up, *by_channel, *convolved(inner, width, 1))
        self.residual = stride == 1 and inputs == width

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features [B, width, H / stride, W / stride]."""
        features: Tensor = self.path(x)
        return x + features if self.residual else features


class MobileNetV2(nn.Module):
    """Logits [B, classes] of images [B, channels, H, W] of any size."""

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        layers, inputs = [*convolved(channels, STEM, 3), nn.ReLU6(inplace=True)], STEM
        for expansion, width, blocks, stride in STAGES:
            for at in range(blocks):
                layers.append(InvertedResidual(inputs, width, expansion, stride if at == 0 else 1))
                inputs = width
        self.features = nn.Sequential(*layers, *convolved(inputs, LAST, 1), nn.ReLU6(inplace=True))
        self.head = nn.Linear(LAST, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


def mobilenet(classes: int, channels: int = 3) -> nn.Module:
    """Return MobileNetV2: 2.24 million parameters for 10 classes."""
    return MobileNetV2(classes, channels)
