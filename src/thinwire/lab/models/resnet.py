"""ResNets with the stem for small images (He et al. 2016, arXiv:1512.03385): a 3x3 convolution, no max-pool."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import relu

WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to their input; out [B, width, H / stride, W / stride]."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            *convolved(inputs, width, 3, stride), nn.ReLU(inplace=True), *convolved(width, width, 3)
        )
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        return relu(self.path(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with batch norm, added to their input; out [B, 4 width, H / stride, W / stride]."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.path = nn.Sequential(
            *convolved(inputs, width, 1),
            nn.ReLU(inplace=True),
            *convolved(width, width, 3, stride),
            nn.ReLU(inplace=True),
            *convolved(width, outputs, 1),
        )
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        return relu(self.path(x) + self.shortcut(x))


class ResNet(nn.Module):
    """Logits [B, classes] of images [B, channels, H, W] of any size; every stage but the first halves it."""

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: Sequence[int],
        classes: int,
        channels: int = 3,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*convolved(channels, widths[0], 3), nn.ReLU(inplace=True))
        inputs, stages = widths[0], []
        for at, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            strides = [2 if at else 1] + [1] * (depth - 1)
            stages.append(_stage(block, inputs, width, strides))
            inputs = width * block.expansion
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.head(self.stages(self.stem(images)).mean(dim=(2, 3)))
        return logits


def convolved(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution of odd `size` that keeps the borders, and its batch norm.

    It has no bias: before batch norm that would do nothing, and its gradient would be rounding noise.
    """
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


def _stage(block: type[BasicBlock | Bottleneck], inputs: int, width: int, strides: Sequence[int]) -> nn.Module:
    layers: list[nn.Module] = [block(inputs, width, strides[0])]
    layers += [block(width * block.expansion, width, stride) for stride in strides[1:]]
    return nn.Sequential(*layers)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(*convolved(inputs, outputs, 1, stride))


def resnet18(classes: int, channels: int = 3) -> nn.Module:
    """Return ResNet-18: 11.17 million parameters for 10 classes."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, channels)


def resnet50(classes: int, channels: int = 3) -> nn.Module:
    """Return ResNet-50: 23.52 million parameters for 10 classes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, channels)


def small_resnet(classes: int, channels: int = 3) -> nn.Module:
    """Return four stages of one block, 16 to 128 wide: 0.31 million parameters, trains on a CPU."""
    return ResNet(BasicBlock, (1, 1, 1, 1), classes, channels, (16, 32, 64, 128))
