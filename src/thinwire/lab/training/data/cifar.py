"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), 60,000 colour images of 32x32, from their python or binary files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thinwire.lab.tasks.download import cache_dir, download
from thinwire.lab.tasks.folder import locate
from thinwire.lab.training.data.archive import unpack
from thinwire.lab.training.data.arrays import read_arrays
from thinwire.lab.training.data.base import Dataset, checked_folder, missing
from thinwire.lab.training.data.pickled import read_pickled
from thinwire.lab.training.data.pictures import Pictures, pictures

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
BASE_URL = "https://www.cs.toronto.edu/~kriz/"
PART, PART_ARRAYS = "cifar10_10k_2k.npz", ("x_train", "y_train", "x_test", "y_test")

Arrays = tuple[NDArray[np.uint8], NDArray[np.integer]]


@dataclass(frozen=True)
class Layout:
    """The files of one published version: their folder, and those of the training part and of the test part."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Cifar:
    """One CIFAR set. `label` is the python files' key, `label_bytes` how many labels a binary row starts with.

    `mean` and `deviation` are of the training part, by channel, for pixels in 0..1.
    """

    name: str
    classes: int
    label: str
    label_bytes: int
    python: Layout
    binary: Layout
    archive: str
    md5: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    base_url: str = BASE_URL

    def read(self, root: Path | None) -> Dataset:
        """Return the data from the python or binary files under `root`, else downloaded into it or into the cache."""
        checked_folder(self.name, root, f"a folder with {self.python.folder} or {self.binary.folder}")
        home = root or cache_dir()
        for layout, read in ((self.python, self._python), (self.binary, self._binary)):
            if found := self._located(home, layout):
                return self._dataset(layout, found, read)
        download(self.base_url, {self.archive: self.md5}, home)
        files = [f"{self.python.folder}/{name}" for name in self.python.train + self.python.test]
        unpack(home / self.archive, files, home)
        return self._dataset(self.python, [home / file for file in files], self._python)

    def _located(self, root: Path, layout: Layout) -> list[Path]:
        folders = (layout.folder, f"{self.name}/{layout.folder}", self.name, ".")
        return locate(root, folders, layout.train + layout.test)

    def _dataset(self, layout: Layout, files: list[Path], read: Callable[[Path], Arrays]) -> Dataset:
        parts = [self._checked(path, *read(path)) for path in files]
        train, test = parts[: len(layout.train)], parts[len(layout.train) :]
        return self.dataset(self.name, _joined(train), _joined(test))

    def dataset(self, name: str, train: Arrays, test: Arrays) -> Dataset:
        """Return the data set of images uint8 [rows, 3, 32, 32] and labels [rows]."""
        return Dataset(name, "image", self._pictures(*train), self._pictures(*test), self.classes, {"channels": 3})

    def _pictures(self, images: NDArray[np.uint8], labels: NDArray[np.integer]) -> Pictures:
        mean, deviation = (tuple(255 * value for value in values) for values in (self.mean, self.deviation))
        return pictures(images, labels, mean, deviation, mirrors=True)

    def _python(self, path: Path) -> Arrays:
        found = read_pickled(path)
        images, labels = found.get("data"), found.get(self.label)
        if not isinstance(images, np.ndarray) or not isinstance(labels, list) or {*map(type, labels)} != {int}:
            raise ValueError(f"{path}: expected data, an array, and {self.label}, a list of numbers; it has {[*found]}")
        # Checked before numpy sees them: a number over 64 bits would become an object.
        if not all(0 <= label < self.classes for label in labels):
            raise ValueError(f"{path}: expected labels from 0 below {self.classes}")
        return images, np.array(labels, np.int64)

    def _binary(self, path: Path) -> Arrays:
        content = np.fromfile(path, np.uint8)
        row = self.label_bytes + PIXELS
        if not len(content) or len(content) % row:
            raise ValueError(f"{path}: {len(content)} bytes, expected rows of {row}")
        rows = content.reshape(-1, row)
        return rows[:, self.label_bytes :], rows[:, self.label_bytes - 1]

    def _checked(self, path: Path, images: NDArray[np.uint8], labels: NDArray[np.integer]) -> Arrays:
        if images.shape != (len(labels), PIXELS) or labels.max() >= self.classes:
            raise ValueError(
                f"{path}: expected {PIXELS} pixels for each of {len(labels)} labels below {self.classes}; "
                f"got {images.shape} and labels up to {labels.max()}"
            )
        return images.reshape(-1, *SHAPE), labels


def _joined(parts: list[Arrays]) -> Arrays:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def read_part(root: Path | None) -> Dataset:
    """Return 10,000 + 2,000 images of CIFAR-10 from `root`/cifar10/cifar10_10k_2k.npz, images [rows, 32, 32, 3]."""
    found = locate(root, ("cifar10", "."), (PART,)) if root else []
    if not found:
        raise missing("cifar10-part", root, f"cifar10/{PART} with the arrays {', '.join(PART_ARRAYS)}")
    x_train, y_train, x_test, y_test = read_arrays(found[0], PART_ARRAYS)
    for images, labels in ((x_train, y_train), (x_test, y_test)):
        if images.shape != (len(labels), 32, 32, 3) or not len(labels) or labels.max() >= CIFAR10.classes:
            raise ValueError(f"{found[0]}: expected images [rows, 32, 32, 3] and labels below 10, got {images.shape}")
    train, test = (images.transpose(0, 3, 1, 2) for images in (x_train, x_test))
    return CIFAR10.dataset("cifar10-part", (train, y_train), (test, y_test))


CIFAR10 = Cifar(
    name="cifar10",
    classes=10,
    label="labels",
    label_bytes=1,
    python=Layout("cifar-10-batches-py", tuple(f"data_batch_{at}" for at in range(1, 6)), ("test_batch",)),
    binary=Layout("cifar-10-batches-bin", tuple(f"data_batch_{at}.bin" for at in range(1, 6)), ("test_batch.bin",)),
    archive="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    mean=(0.4914, 0.4822, 0.4465),
    deviation=(0.2470, 0.2435, 0.2616),
)
CIFAR100 = Cifar(
    name="cifar100",
    classes=100,
    label="fine_labels",
    label_bytes=2,
    python=Layout("cifar-100-python", ("train",), ("test",)),
    binary=Layout("cifar-100-binary", ("train.bin",), ("test.bin",)),
    archive="cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    mean=(0.5071, 0.4865, 0.4409),
    deviation=(0.2673, 0.2564, 0.2762),
)
