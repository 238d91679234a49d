"""CIFAR's files: the python ones are read as data, whatever they hold, and agree with the binary ones."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from training_files import ROWS, cifar10, cifar10_binary, cifar100, packed, python_2, rows

from thinwire.lab.tasks import DataNotFound
from thinwire.lab.training.data import find
from thinwire.lab.training.data.archive import unpack
from thinwire.lab.training.data.cifar import CIFAR10, PART
from thinwire.lab.training.data.pickled import read_pickled

EVERY = torch.arange(ROWS)


class Calls:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("touched"),)  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_python_file_reads_as_pythons_own_reader_does(tmp_path: Path, protocol: int) -> None:
    images, labels = rows(0)
    path = tmp_path / "file"
    others = [b"a", "b", None, True, -7, 2**40, (1, 2, 3, 4)]
    value = {b"data": images, b"labels": labels, b"batch_label": b"training batch 1 of 5", b"others": others}
    path.write_bytes(pickle.dumps(value, protocol))
    found = read_pickled(path)
    assert np.array_equal(found.pop("data"), images)
    assert found == {key.decode(): item for key, item in pickle.loads(path.read_bytes()).items() if key != b"data"}


def test_a_file_of_python_2_reads_as_pythons_own_reader_does(tmp_path: Path) -> None:
    images, labels = rows(1)
    (tmp_path / "file").write_bytes(python_2(images, labels))
    found, truth = read_pickled(tmp_path / "file"), pickle.loads(python_2(images, labels), encoding="latin-1")
    assert np.array_equal(found["data"], images)
    assert np.array_equal(truth["data"], images)
    assert found["labels"] == truth["labels"] == labels


def test_an_array_by_columns_reads_as_it_was(tmp_path: Path) -> None:
    images = np.asfortranarray(rows(2)[0])
    (tmp_path / "file").write_bytes(pickle.dumps({"data": images}, 2))
    assert np.array_equal(read_pickled(tmp_path / "file")["data"], images)


@pytest.mark.parametrize(
    "value",
    [
        *({"data": Calls()}, {"data": np.zeros((2, 2))}, {"data": np.array([[None]])}, {"data": np.zeros(3, np.uint8)}),
        *({"data": np.ones((1, 1), np.int8)}, [1, 2], {1: 2}, {"data": {1, 2}}, {"data": slice(3)}, {(): 1}),
    ],
)
def test_a_file_that_asks_for_anything_else_is_refused(
    tmp_path: Path, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(pickle.dumps(value, 2))
    with pytest.raises(ValueError, match="file: not a CIFAR python file"):
        read_pickled(tmp_path / "file")
    assert not (tmp_path / "touched").exists()


def test_damaged_files_give_a_result_or_a_value_error(tmp_path: Path) -> None:
    images, labels = rows(3)
    small = images[:, :40].copy()
    rng, path = np.random.default_rng(0), tmp_path / "file"
    for content in (python_2(small, labels), pickle.dumps({"data": small, "labels": labels}, 4)):
        for at in range(150):
            damaged = bytearray(content)
            for place in rng.integers(0, len(content), rng.integers(1, 4)):
                damaged[place] = rng.integers(0, 256)
            path.write_bytes(damaged[: len(content) - at // 8] if at % 2 else damaged)
            with contextlib.suppress(ValueError):
                assert isinstance(read_pickled(path), dict)


@pytest.mark.parametrize("protocol", [None, 2, 4])
def test_python_and_binary_files_give_the_same_images(tmp_path: Path, protocol: int | None) -> None:
    cifar10(tmp_path / "one" / "cifar-10-batches-py", protocol)
    cifar10_binary(tmp_path / "two" / "cifar10" / "cifar-10-batches-bin")
    one, two = (find("cifar10").load(tmp_path / name) for name in ("one", "two"))
    assert (len(one.train), len(one.test), one.outputs) == (5 * ROWS, ROWS, 10)
    for mine, other in ((one.train, two.train), (one.test, two.test)):
        for a, b in zip(mine.take(EVERY), other.take(EVERY), strict=True):
            assert torch.equal(a, b)
    pixels = torch.tensor(rows(5)[0]).view(-1, 3, 32, 32) / 255
    expected = (pixels - torch.tensor(CIFAR10.mean).view(3, 1, 1)) / torch.tensor(CIFAR10.deviation).view(3, 1, 1)
    torch.testing.assert_close(one.test.take(EVERY)[0], expected)
    assert one.test.take(EVERY)[1].tolist() == rows(5)[1]


def test_cifar_100_has_its_fine_labels_in_both_versions(tmp_path: Path) -> None:
    cifar100(tmp_path)
    first = find("cifar100").load(tmp_path)
    (tmp_path / "cifar-100-python" / "train").unlink()
    second = find("cifar100").load(tmp_path)
    assert first.outputs == 100
    assert first.train.take(EVERY)[1].tolist() == second.train.take(EVERY)[1].tolist() == rows(0, 100)[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"data": rows(0)[0]}, 2), r"expected data, an array, and labels, a list.*\['data'\]"),
        (pickle.dumps({"data": rows(0)[0], "labels": [1] * 5}, 2), r"3072 pixels for each of 5 labels"),
        (pickle.dumps({"data": rows(0)[0], "labels": [10] * 6}, 2), r"labels from 0 below 10"),
        (pickle.dumps({"data": rows(0)[0], "labels": [2**70] * 6}, 2), r"labels from 0 below 10"),
        (pickle.dumps({"data": rows(0)[0][:, :9].copy(), "labels": [1] * 6}, 2), r"3072 pixels.*\(6, 9\)"),
    ],
)
def test_a_file_with_other_contents_is_explained(tmp_path: Path, content: bytes, message: str) -> None:
    cifar10(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    with pytest.raises(ValueError, match=f"test_batch: .*{message}"):
        find("cifar10").load(tmp_path)


def test_a_binary_file_of_another_length_is_explained(tmp_path: Path) -> None:
    cifar10_binary(tmp_path / "cifar-10-batches-bin")
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=r"test_batch\.bin: 100 bytes, expected rows of 3073"):
        find("cifar10").load(tmp_path)


def test_an_archive_is_downloaded_checked_and_unpacked_once(tmp_path: Path) -> None:
    cifar10(tmp_path / "cifar-10-batches-py")
    packed(tmp_path / "cifar-10-batches-py", tmp_path / CIFAR10.archive)
    md5 = hashlib.md5((tmp_path / CIFAR10.archive).read_bytes()).hexdigest()
    source = dataclasses.replace(CIFAR10, base_url=f"{tmp_path.as_uri()}/", md5=md5)
    home = tmp_path / "home" / "data"
    home.mkdir(parents=True)
    with pytest.raises(DataNotFound, match=r"MD5 is .*offline, put cifar-10-python\.tar\.gz into .*--data FOLDER"):
        dataclasses.replace(source, md5="0" * 32).read(home)
    assert len(source.read(home).train) == 5 * ROWS
    assert not (tmp_path / "home" / "outside").exists()
    (tmp_path / CIFAR10.archive).unlink()
    assert len(source.read(home).train) == 5 * ROWS


def test_bad_archives_are_explained(tmp_path: Path) -> None:
    for name in ("a.tar.gz", "a.zip"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises((ValueError, OSError), match=r"damaged|gzip"):
            unpack(tmp_path / name, ["b"], tmp_path)
    (tmp_path / "folder").mkdir()
    packed(tmp_path / "folder", tmp_path / "b.zip")
    with pytest.raises(ValueError, match=r"lacks folder/file"):
        unpack(tmp_path / "b.zip", ["folder/file"], tmp_path)


def arrays(path: Path, **given: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **given)


def test_a_part_of_cifar_10_is_read_from_an_array_file(tmp_path: Path) -> None:
    images = rows(0)[0].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = np.array(rows(0)[1], np.uint8)
    arrays(tmp_path / "cifar10" / PART, x_train=images, y_train=labels, x_test=images, y_test=labels)
    cifar10(tmp_path / "cifar-10-batches-py")
    part, whole = find("cifar10-part").load(tmp_path), find("cifar10").load(tmp_path)
    for a, b in zip(part.test.take(EVERY), whole.train.take(EVERY), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([None] * 6), "y_train is object"),
        (np.zeros(6, np.int64), "y_train is int64"),
        (np.zeros(5, np.uint8), r"images \[rows, 32, 32, 3\]"),
        (np.full(6, 10, np.uint8), "labels below 10"),
    ],
)
def test_bad_array_files_are_explained(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    images, good = np.zeros((6, 32, 32, 3), np.uint8), np.zeros(6, np.uint8)
    arrays(tmp_path / PART, x_train=images, y_train=labels, x_test=images, y_test=good)
    with pytest.raises(ValueError, match=f"{PART}: .*{message}"):
        find("cifar10-part").load(tmp_path)


def test_an_array_that_lies_about_its_length_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**30, 1)})
    with zipfile.ZipFile(tmp_path / PART, "w") as archive:
        archive.writestr("x_train.npy", file.getvalue())
    with pytest.raises(ValueError, match="another number of bytes"):
        find("cifar10-part").load(tmp_path)
