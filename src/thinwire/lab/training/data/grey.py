"""Grey images: scikit-learn's digits, MNIST and Fashion-MNIST, in the files of the federated tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thinwire.lab.tasks import digits
from thinwire.lab.tasks.images import CLASSES, Source
from thinwire.lab.training.data.base import Dataset
from thinwire.lab.training.data.pictures import pictures

SIDE = 8


def read_digits(_root: Path | None = None) -> Dataset:
    """Return 8x8 digits, which ship with scikit-learn, so that no folder is looked in."""
    data = digits.load()
    shades = [(part[0] * digits.BRIGHTEST).to(dtype=part[1].dtype).numpy() for part in (data.train, data.test)]
    mean, deviation = (float(shades[0].mean()),), (float(shades[0].std()),)
    train, test = (
        pictures(images.astype(np.uint8).reshape(-1, 1, SIDE, SIDE), part[1].numpy(), mean, deviation)
        for images, part in zip(shades, (data.train, data.test), strict=True)
    )
    return Dataset("digits", "image", train, test, CLASSES, {"channels": 1})


def read_idx_set(source: Source, mirrors: bool, root: Path | None) -> Dataset:
    """Return a source's images [rows, 1, 28, 28] from `root`, else downloaded into it or into the cache."""
    mean, deviation = (source.mean * 255,), (source.deviation * 255,)
    train, test = (
        pictures(images[:, None], labels, mean, deviation, mirrors) for images, labels in source.pixels(root)
    )
    return Dataset(source.name, "image", train, test, CLASSES, {"channels": 1})
