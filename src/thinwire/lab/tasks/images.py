"""The image tasks: MNIST and Fashion-MNIST, 70,000 grey images of 28x28 in 10 classes, from their own idx files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thinwire.lab.tasks.base import Data, Task, Training
from thinwire.lab.tasks.download import cache_dir, download
from thinwire.lab.tasks.folder import locate, not_found
from thinwire.lab.tasks.idx import read_idx
from thinwire.lab.tasks.metrics import accuracy

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
PLAIN_OR_GZIPPED = ("", ".gz")
SIDE = 28
CLASSES = 10

Pixels = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Source:
    """One published image set: where it is kept, where it comes from, and its pixels' mean and deviation in 0..1."""

    name: str
    folders: tuple[str, ...]
    base_url: str
    md5_of: Mapping[str, str]
    mean: float
    deviation: float

    def load(self, root: Path | None = None) -> Data:
        """Return standardised images float32 [rows, 1, 28, 28] and labels int64 [rows].

        Files that are not there are downloaded into `root`, or without it into the cache folder. Raises DataNotFound
        where `root` is no folder or the download fails, ValueError for files that are not what they should be.
        """
        train, test = self.pixels(root)
        return Data(train=self._standardised(*train), test=self._standardised(*test))

    def pixels(self, root: Path | None = None) -> tuple[Pixels, Pixels]:
        """Return what the files hold, images uint8 [rows, 28, 28] and labels uint8 [rows], to train and to test on."""
        files = self._files(root)
        return _read(*files[:2]), _read(*files[2:])

    def _files(self, root: Path | None) -> list[Path]:
        if root and not root.is_dir():
            raise not_found(self.name, root, f"a folder with {', '.join(self.md5_of)} in {self.folders[0]}")
        home = root or cache_dir()
        if found := locate(home, self.folders, TRAIN + TEST, PLAIN_OR_GZIPPED):
            return found
        download(self.base_url, self.md5_of, home / self.folders[0])
        return [home / self.folders[0] / name for name in self.md5_of]

    def _standardised(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        pixels = torch.tensor(images, dtype=torch.float32).div_(255).sub_(self.mean).div_(self.deviation)
        return pixels.unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def _read(image_file: Path, label_file: Path) -> Pixels:
    images, labels = read_idx(image_file, rank=3), read_idx(label_file, rank=1)
    if len(images) == 0 or images.shape != (len(labels), SIDE, SIDE) or labels.max() >= CLASSES:
        raise ValueError(
            f"{image_file} and {label_file.name}: expected as many {SIDE}x{SIDE} images as labels, and labels "
            f"under {CLASSES}; got {images.shape}, {labels.shape} and labels up to {labels.max(initial=0)}"
        )
    return images, labels


def cnn() -> nn.Module:
    """Return two 3x3 convolutions (16, 32), each pooled by 2, and 1568-512-10: 813,258 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 512),
        nn.ReLU(),
        nn.Linear(512, CLASSES),
    )


def mlp() -> nn.Module:
    """Return 784-128-10: 101,770 parameters, for studies of many runs."""
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 128), nn.ReLU(), nn.Linear(128, CLASSES))


def image_task(source: Source, summary: str, architecture: Callable[[], nn.Module] = cnn, suffix: str = "") -> Task:
    """Return the task that trains an architecture on `source`."""
    return Task(
        name=source.name + suffix,
        summary=summary,
        metric="accuracy",
        training=Training(rounds=20, batch_size=64, lr=0.05, momentum=0.9),
        load=source.load,
        architecture=architecture,
        loss=cross_entropy,
        score=accuracy,
    )


MNIST = Source(
    name="mnist",
    folders=("MNIST/raw", "mnist", "."),
    base_url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    md5_of={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    mean=0.1307,
    deviation=0.3081,
)
FASHION_MNIST = Source(
    name="fashion-mnist",
    folders=("FashionMNIST/raw", "fashion-mnist", "."),
    base_url="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    md5_of={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    mean=0.2860,
    deviation=0.3530,
)
TASKS = (
    image_task(
        FASHION_MNIST, "28x28 pictures of clothes, CNN of 813k parameters; needs files or the internet, minutes"
    ),
    image_task(FASHION_MNIST, "the same pictures, MLP of 102k parameters; a minute", mlp, "-mlp"),
    image_task(MNIST, "28x28 handwritten digits, CNN of 813k parameters; needs files or the internet, minutes"),
)
