"""The data sets of distributed training by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from thinwire.errors import unknown
from thinwire.lab.gradients.text import PAGES
from thinwire.lab.tasks.images import FASHION_MNIST, MNIST
from thinwire.lab.training.data.base import DatasetSpec
from thinwire.lab.training.data.cifar import CIFAR10, CIFAR100, read_part
from thinwire.lab.training.data.grey import read_digits, read_idx_set
from thinwire.lab.training.data.texts import read_file, read_pages, read_ptb, read_wikitext2

DEFAULT = "digits"
TEXT_SUFFIX = ".txt"

DATASETS: Mapping[str, DatasetSpec] = {
    "digits": DatasetSpec("1,797 grey 8x8 digits, ship with scikit-learn", "image", read_digits),
    "cifar10": DatasetSpec("60,000 colour 32x32 images, 10 classes", "image", CIFAR10.read),
    "cifar10-part": DatasetSpec("12,000 images of CIFAR-10; needs its file", "image", read_part),
    "cifar100": DatasetSpec("60,000 colour 32x32 images, 100 classes", "image", CIFAR100.read),
    "mnist": DatasetSpec("70,000 grey 28x28 digits", "image", partial(read_idx_set, MNIST, False)),
    "fashion-mnist": DatasetSpec("70,000 grey 28x28 clothes", "image", partial(read_idx_set, FASHION_MNIST, True)),
    "ptb": DatasetSpec("Penn Treebank, 1.1 M words of 10,000", "text", read_ptb),
    "wikitext2": DatasetSpec("WikiText-2, 2.5 M words of 33,000", "text", read_wikitext2),
    PAGES: DatasetSpec("43,000 characters, ship with scikit-learn", "text", read_pages),
}


def find(name: str) -> DatasetSpec:
    """Return the data set called `name`, or the text file of that path if it ends in .txt.

    Raises ValueError with the known names and the nearest for another name.
    """
    if name in DATASETS:
        return DATASETS[name]
    if not name.endswith(TEXT_SUFFIX):
        raise ValueError(f"{unknown('dataset', name, DATASETS)} A text file's path ends in {TEXT_SUFFIX}.")
    return DatasetSpec(f"the text file {name}, its last tenth for testing", "text", partial(read_file, name))
