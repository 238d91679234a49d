"""Made-up files in the formats of CIFAR, of an array archive and of text corpora."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np

ROWS = 6


def rows(seed: int, classes: int = 10) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (ROWS, 3072), dtype=np.uint8), rng.integers(0, classes, ROWS).tolist()


def python_2(images: np.ndarray, labels: list[int]) -> bytes:
    """Return a pickle as Python 2 wrote the published files: protocol 2, byte strings, numpy.core."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    content = images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    shape = b"M" + struct.pack("<H", len(images)) + b"M" + struct.pack("<H", images.shape[1]) + b"\x86"
    state = b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(content)) + content + b"tb"
    numbers = b"(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return (
        b"\x80\x02}q\x01(" + text(b"data") + array + state + text(b"labels") + b"]q\x02" + numbers
        + text(b"batch_label") + text(b"testing batch 1 of 1") + b"u."
    )  # fmt: skip


def cifar10(folder: Path, protocol: int | None = 2) -> None:
    """Write the six python files below `folder`, as Python 2 did if `protocol` is None."""
    folder.mkdir(parents=True)
    for seed, name in enumerate([*(f"data_batch_{at}" for at in range(1, 6)), "test_batch"]):
        images, labels = rows(seed)
        written = pickle.dumps({b"data": images, b"labels": labels}, protocol or 2)
        (folder / name).write_bytes(written if protocol else python_2(images, labels))


def cifar10_binary(folder: Path) -> None:
    folder.mkdir(parents=True)
    for seed, name in enumerate([*(f"data_batch_{at}" for at in range(1, 6)), "test_batch"]):
        images, labels = rows(seed)
        (folder / f"{name}.bin").write_bytes(np.column_stack([np.array(labels, np.uint8), images]).tobytes())


def cifar100(folder: Path) -> None:
    """Write both versions of CIFAR-100 below `folder`."""
    (folder / "cifar-100-python").mkdir(parents=True)
    (folder / "cifar-100-binary").mkdir()
    for seed, name in enumerate(["train", "test"]):
        images, fine = rows(seed, 100)
        found = {"filenames": ["a"] * ROWS, "coarse_labels": [1] * ROWS, "fine_labels": fine, "data": images}
        (folder / "cifar-100-python" / name).write_bytes(pickle.dumps(found, 4))
        columns = [np.ones(ROWS, np.uint8), np.array(fine, np.uint8), images]
        (folder / "cifar-100-binary" / f"{name}.bin").write_bytes(np.column_stack(columns).tobytes())


def packed(folder: Path, archive: Path) -> None:
    """Pack a folder by its own name, and a file that nobody asks for."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as pack:
            for path in sorted(folder.iterdir()):
                pack.write(path, f"{folder.name}/{path.name}")
            pack.writestr("../outside", "no")
        return
    with tarfile.open(archive, "w:gz") as tape:
        tape.add(folder, folder.name)
        tape.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
