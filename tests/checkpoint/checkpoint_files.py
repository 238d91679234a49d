"""Small checkpoints with everything in them, and the same after a little training."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from thinwire.checkpoint import PackReport, UnpackReport, pack, unpack
from thinwire.checkpoint.goals import Goal

Tensors = dict[str, Tensor]
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip
NARROW = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


def everything() -> Tensors:
    """Every dtype, with 0-d, empty, tiny, odd-named, non-finite and cut tensors."""
    g = torch.Generator().manual_seed(7)
    tensors: Tensors = {}
    for dtype in FLOATS:
        tensors[f"matrix {dtype}"] = torch.randn(40, 50, generator=g, dtype=torch.float64).to(dtype)
        tensors[f"bias {dtype}"] = torch.randn(50, generator=g, dtype=torch.float64).to(dtype)
    for dtype in INTEGERS:
        tensors[f"{dtype}"] = torch.randint(0, 100, (3, 7), generator=g).to(dtype)
    for dtype in NARROW:
        tensors[f"{dtype}"] = torch.randn(6, 4, generator=g).to(dtype)
    return tensors | {
        "bool": torch.rand(2, 5, generator=g) > 0.5,
        "complex": torch.randn(3, 4, generator=g, dtype=torch.complex64),
        "0-d": torch.tensor(2.5),
        "0-d/int": torch.tensor(3),
        "empty": torch.zeros(0, 5),
        "layer.0/größe \"'\\\n\t\x01 𝛼": torch.randn(33, 41, generator=g),
        "": torch.randn(4, generator=g),
        "mask": torch.full((40, 40), float("-inf")).triu(1),
        "nan": torch.full((40, 40), float("nan")),
        "negative zero": torch.full((40, 40), -0.0),
        "wide": torch.randn(1, 9000, generator=g),
        "long": torch.randn(9001, generator=g),
        "4-d": torch.randn(12, 5, 3, 3, generator=g),
        "tiny": torch.randn(40, 40, generator=g) * 1e-36,
    }


def trained(tensors: Tensors, by: float = 0.01) -> Tensors:
    """The same after a little training: floats move, the rest stays."""
    g = torch.Generator().manual_seed(8)
    moved = {}
    for name, x in tensors.items():
        small = torch.randn(x.shape, generator=g) * by * (1e-36 if name == "tiny" else 1)
        moved[name] = x + small.to(x.dtype) if x.dtype in FLOATS else x.clone()
    return moved


def save(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    save_file(tensors, path, metadata)
    return path


def there_and_back(
    source: Path, goal: Goal, base: Path | None = None, slice_elements: int = 1 << 22
) -> tuple[Tensors, PackReport, UnpackReport]:
    """Pack, unpack and read again."""
    packed, restored = source.with_suffix(".tw"), source.with_suffix(".back")
    report = pack(source, packed, goal, base, slice_elements=slice_elements)
    unpacked = unpack(packed, restored, base)
    assert report.file_bytes == packed.stat().st_size == unpacked.packed_bytes
    assert unpacked.file_bytes == restored.stat().st_size
    return load_file(restored), report, unpacked


def same_bits(x: Tensor, y: Tensor) -> bool:
    def bits(z: Tensor) -> bytes:
        return z.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if z.numel() else b""

    return (x.shape, x.dtype, bits(x)) == (y.shape, y.dtype, bits(y))
