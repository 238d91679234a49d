"""Made-up images in the idx format of MNIST."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def image_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    sizes = {"train": 30, "t10k": 20}
    pictures = {f"{part}-images-idx3-ubyte": rng.integers(0, 256, (n, 28, 28)) for part, n in sizes.items()}
    labels = {f"{part}-labels-idx1-ubyte": rng.integers(0, 10, n) for part, n in sizes.items()}
    return {name: idx(array.astype(np.uint8)) for name, array in (pictures | labels).items()}


def write(folder: Path, files: dict[str, bytes], packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
