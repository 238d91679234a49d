"""Image tasks: the layouts that they read, damaged files, and the real images."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from image_data import idx, image_files, write
from task_data import federated, real

from thinwire.lab.tasks import find, images
from thinwire.lab.tasks.idx import read_idx


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folder", ["FashionMNIST/raw", "fashion-mnist", "."])
def test_images_load_from_each_layout(tmp_path: Path, folder: str, packed: bool) -> None:
    write(tmp_path / folder, image_files(), packed)
    task = find("fashion-mnist")
    data = task.load(tmp_path)
    assert [tuple(column.shape) for column in data.train + data.test] == [
        (30, 1, 28, 28),
        (30,),
        (20, 1, 28, 28),
        (20,),
    ]
    pixels = np.frombuffer(image_files()["t10k-images-idx3-ubyte"], np.uint8, offset=16)
    expected = (torch.tensor(pixels / 255).float() - 0.2860) / 0.3530
    assert torch.allclose(data.test[0].flatten(), expected, atol=1e-5)
    model = task.model(0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 813_258
    task.train(model, data.train, task.training, seed=0)
    assert 0 <= task.evaluate(model, data.test)[0] <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\0\0\x08\x01\0\0\0\x02ab", "with 3 dimensions"),
        (b"\0\0\x0d\x03" + bytes(12), "unsigned bytes"),
        (b"\0\0\x08\x03\0\0\0\x02", "12 header bytes|8 header bytes"),
        (idx(np.zeros((2, 3, 3), np.uint8))[:-1], "only 17"),
        (idx(np.zeros((2, 3, 3), np.uint8)) + b"x", "holds more"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "over the limit"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_bad_idx_files_are_explained(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    write(tmp_path, {"file": content}, packed)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / ("file" + ".gz" * packed), rank=3)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab", mtime=0)[:-9]])
def test_a_damaged_gzip_file_is_explained(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"file\.gz: damaged gzip"):
        read_idx(tmp_path / "file.gz", rank=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"train-labels-idx1-ubyte": idx(np.zeros(29, np.uint8))},
        {"train-labels-idx1-ubyte": idx(np.full(30, 10, np.uint8))},
        {"t10k-images-idx3-ubyte": idx(np.zeros((20, 28, 27), np.uint8))},
        {
            "t10k-images-idx3-ubyte": idx(np.zeros((0, 28, 28), np.uint8)),
            "t10k-labels-idx1-ubyte": idx(np.zeros(0, "u1")),
        },
    ],
)
def test_images_and_labels_that_do_not_fit_are_explained(tmp_path: Path, wrong: dict[str, bytes]) -> None:
    write(tmp_path, image_files() | wrong)
    with pytest.raises(ValueError, match="as many 28x28 images as labels"):
        find("mnist").load(tmp_path)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_the_real_images_load_with_their_published_checksums(name: str, folder: str) -> None:
    root = real(folder)
    source = images.MNIST if name == "mnist" else images.FASHION_MNIST
    for file, md5 in source.md5_of.items():
        assert hashlib.md5((root / source.folders[0] / file).read_bytes()).hexdigest() == md5
    data = find(name).load(root)
    assert (len(data.train[1]), len(data.test[1])) == (60_000, 10_000)
    assert data.train[0].mean().item() == pytest.approx(0, abs=1e-3)
    assert data.train[0].std().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_fashion_mnist_learns_in_one_round() -> None:
    task = find("fashion-mnist")
    data = task.load(real("FashionMNIST"))
    model = federated(task, data, dataclasses.replace(task.training, rounds=1, partition="iid"))
    assert task.evaluate(model, data.test)[0] > 0.75
