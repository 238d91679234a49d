"""A small convolutional network for grey square images."""

from __future__ import annotations

from torch import nn


def image_cnn(side: int, classes: int, hidden: int = 512) -> nn.Module:
    """Return three 3x3 convolutions (32, 64, 128), the first two pooled by 2, and a hidden layer; input [n, 1, s, s].

    360k parameters for a side of 8, 3.3 million for 28 (with 10 classes). Raises ValueError for a side below 4.
    """
    if side < 4:
        raise ValueError(f"image_cnn: side is {side}, expected 4 or more: the images are halved twice")
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128 * (side // 4) ** 2, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )
