"""Writes the packed files that every later version must restore: run once for a format, then append only."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from checkpoint_files import save
from torch import Tensor

import thinwire as tw
from thinwire.checkpoint import Bounded, Lossless, WithCodec, pack, unpack

GOLDEN = Path(__file__).parent / "golden"
GOALS = {"lossless": Lossless(), "nmse": Bounded("nmse", 0.1), "step": WithCodec(tw.parse("Step(relative=0.3)"))}


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    old, new = (
        save(GOLDEN / "old.safetensors", tensors(0)),
        save(GOLDEN / "new.safetensors", tensors(1), {"format": "pt"}),
    )
    for name, goal in GOALS.items():
        for base in (None, old):
            packed = GOLDEN / f"{name}{'-based' if base else ''}.tw"
            if not packed.exists():
                pack(new, packed, goal, base, slice_elements=700)
                if name != "lossless":  # that is new.safetensors
                    unpack(packed, packed.with_suffix(".safetensors"), base)
    (GOLDEN / "odd.safetensors").write_bytes(odd())
    for base in (None, old):
        packed = GOLDEN / f"odd{'-based' if base else ''}.tw"
        if not packed.exists():
            pack(GOLDEN / "odd.safetensors", packed, Lossless(), base, slice_elements=700)


def odd() -> bytes:
    """A file that version 1 of the format cannot say: its header, a dtype, a bool of 2, more rows than the base has."""
    g = torch.Generator().manual_seed(2)
    matrix = torch.cat([tensors(0)["float32"] + 0.01, torch.randn(3, 33, generator=g)])
    parts = {
        "four": ("F4", [3, 2], bytes([1, 2, 255])),
        "flags": ("BOOL", [5], bytes([0, 1, 2, 255, 1])),
        "float32": ("F32", list(matrix.shape), matrix.numpy().tobytes()),
    }
    header: dict[str, object] = {}
    at = 0
    for name, (dtype, shape, data) in parts.items():
        header[name] = {"shape": shape, "dtype": dtype, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header | {"__metadata__": None}, indent=1).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in parts.values())


def tensors(seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "float32": torch.randn(34, 33, generator=g),
        "bfloat16": torch.randn(34, 31, generator=g).bfloat16(),
        "float8": torch.randn(3, 3, generator=g).to(torch.float8_e4m3fn),
        "bias": torch.randn(9, generator=g),
        "steps": torch.tensor(seed),
        "flags": torch.rand(5, generator=g) > 0.5,
        "empty": torch.zeros(0, 3),
    }


if __name__ == "__main__":
    main()
