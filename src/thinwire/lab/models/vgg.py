"""VGG with batch norm and one linear layer as head (Simonyan & Zisserman 2015, arXiv:1409.1556), for small images."""

from __future__ import annotations

from torch import Tensor, nn

from thinwire.lab.models.resnet import convolved

POOL = 0
VGG11 = (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL)
VGG16 = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL)


class VGG(nn.Module):
    """Logits [B, classes] of images [B, channels, H, W] of any size; `plan` has a width a convolution, 0 for a pool."""

    def __init__(self, plan: tuple[int, ...], classes: int, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in plan:
            # ceil_mode: images below 32x32 would have no pixel left after five pools.
            layers += [nn.MaxPool2d(2, ceil_mode=True)] if width == POOL else _activated(channels, width)
            channels = width or channels
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


def _activated(inputs: int, outputs: int) -> list[nn.Module]:
    return [*convolved(inputs, outputs, 3), nn.ReLU(inplace=True)]


def vgg11(classes: int, channels: int = 3) -> nn.Module:
    """Return VGG-11 with batch norm: 9.23 million parameters for 10 classes."""
    return VGG(VGG11, classes, channels)


def vgg16(classes: int, channels: int = 3) -> nn.Module:
    """Return VGG-16 with batch norm: 14.72 million parameters for 10 classes."""
    return VGG(VGG16, classes, channels)
