"""Run by checkpoint/test_checkpoint_memory.py in a process of its own: print the peaks of pack and unpack, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peak_memory import peak_bytes

import thinwire as tw
from thinwire.checkpoint import Bounded, Budget, Lossless, WithCodec, pack, unpack
from thinwire.checkpoint.entries import Entry
from thinwire.checkpoint.goals import Goal
from thinwire.checkpoint.head import Head
from thinwire.checkpoint.unpack import safetensors_header
from thinwire.codec import Spec

ROWS, COLUMNS = 52_000, 4096
"""One tensor of 850 MB, so that no tensor may be held whole either."""
GOALS = {
    "codec": (WithCodec(tw.parse("Step(relative=0.05)")), True),
    "lossless": (Lossless(), True),
    "bound": (Bounded("nmse", 0.1), False),
    "budget": (Budget(ratio=24), True),
}


def main() -> None:
    torch.set_num_threads(1)
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    old, new = folder / "old.safetensors", folder / "new.safetensors"
    write(old, 1.0)
    write(new, 1.01)
    print(json.dumps({"file": new.stat().st_size} | {name: peaks(old, new, *GOALS[name]) for name in names}))


def write(path: Path, scale: float) -> None:
    head = Head((Entry("x", "F32", Spec((ROWS, COLUMNS), torch.float32)),), {}, 1)
    block = scale * torch.randn(1000, COLUMNS, generator=torch.Generator().manual_seed(0))
    with path.open("wb") as file:
        file.write(safetensors_header(head))
        for _ in range(ROWS // 1000):
            file.write(block.numpy().data)


def peaks(old: Path, new: Path, goal: Goal, based: bool) -> tuple[int, int]:
    base, packed, back = old if based else None, new.with_suffix(".tw"), new.with_suffix(".back")
    found = peak_bytes(lambda: pack(new, packed, goal, base)), peak_bytes(lambda: unpack(packed, back, base))
    assert back.stat().st_size == new.stat().st_size
    back.unlink()
    return found


if __name__ == "__main__":
    main()
