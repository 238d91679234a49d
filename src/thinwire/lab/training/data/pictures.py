"""Images as rows: kept as bytes, standardised a batch at a time, cropped and mirrored by chance where asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from thinwire.lab.training.data.base import Batch

PADDING_SHARE = 8
"""Images are padded by an eighth of their side, 4 pixels of 32, before they are cropped (He et al. 2016)."""


@dataclass(frozen=True, eq=False)
class Crops:
    """What one epoch does to every image: where the crop starts, int64 [rows, 2], and whether it is mirrored [rows]."""

    starts: Tensor
    mirrored: Tensor


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images uint8 [rows, channels, H, W] and labels int64 [rows].

    `mean` and `deviation` are one a channel, in pixel values. `mirrors` says whether an image and its mirror image are
    of the same class. What an epoch does to an image is drawn by its row, whichever rank and batch it falls to.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    mirrors: bool = False
    crops: Crops | None = None

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.labels)

    def take(self, rows: Tensor) -> Batch:
        """Return standardised images float32 [B, channels, H, W] and labels int64 [B]."""
        images = self.images[rows]
        if self.crops is not None:
            images = cropped(images, self.crops.starts[rows], self.crops.mirrored[rows])
        mean, deviation = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.deviation))
        return (images.to(torch.float32) - mean) / deviation, self.labels[rows]

    def augmented(self, draws: np.random.Generator) -> Pictures:
        """Return the same images as one epoch sees them."""
        rows, room = len(self), 2 * _padding(self.images)
        starts = torch.from_numpy(draws.integers(0, room, (rows, 2), endpoint=True))
        mirrored = torch.from_numpy(draws.integers(0, 2, rows).astype(np.bool_)) & self.mirrors
        return replace(self, crops=Crops(starts, mirrored))


def cropped(images: Tensor, starts: Tensor, mirrored: Tensor) -> Tensor:
    """Return `images` [B, channels, H, W] padded by zeros, cut to their size from `starts` on and mirrored."""
    height, width = images.shape[2:]
    padded = pad(images, [_padding(images)] * 4)
    down = starts[:, :1] + torch.arange(height)
    across = torch.arange(width).expand(len(images), -1)
    across = starts[:, 1:] + torch.where(mirrored[:, None], width - 1 - across, across)
    every = torch.arange(len(images))[:, None, None]
    return padded[every, :, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)


def _padding(images: Tensor) -> int:
    return images.shape[2] // PADDING_SHARE


def pictures(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    mirrors: bool = False,
) -> Pictures:
    """Return Pictures of arrays [rows, channels, H, W] and [rows], which are copied."""
    return Pictures(torch.tensor(images), torch.tensor(labels, dtype=torch.int64), mean, deviation, mirrors)
