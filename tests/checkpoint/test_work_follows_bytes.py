"""Time and memory follow the bytes of a file and the number of its tensors. Calls are counted: clocks vary."""

from __future__ import annotations

import hashlib
import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
import torch
from checkpoint_files import save

from thinwire.checkpoint import Bounded, CheckpointError, Lossless, pack, unpack
from thinwire.checkpoint.head import FIXED
from thinwire.cli import main
from thinwire.errors import WireError
from thinwire.kernels import zstd
from thinwire.wire.integers import varint

PLAIN = 1 << 25


def calls(work: Callable[[], object]) -> int:
    """Return how many functions were called, compiled ones included."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_packing_and_unpacking_many_tensors_is_linear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def cost(count: int) -> dict[str, int]:
        old = {f"layers.{i}.bias": torch.arange(8) + i for i in range(count)}
        base = save(tmp_path / f"old{count}.safetensors", old, {f"key{i}": "text" for i in range(count)})
        source = save(tmp_path / f"new{count}.safetensors", {name: x + 1.5 for name, x in old.items()} | old)
        packed, back = tmp_path / "x.tw", tmp_path / "back"
        return {
            "pack": calls(lambda: pack(base, packed, Lossless())),
            "unpack": calls(lambda: unpack(packed, back)),
            "bound": calls(lambda: pack(source, packed, Bounded("relative", 0.1), base)),
            "based": calls(lambda: unpack(packed, back, base)),
            "inspect": calls(lambda: main(["inspect", str(packed)])),
        }

    cost(10)
    few, many = cost(200), cost(800)
    assert {name: round(many[name] / few[name], 1) for name in few if many[name] > 5 * few[name]} == {}


def file(version: int, plain: bytes) -> bytes:
    """A file that is nothing but a head and an end, sealed as a forger would."""
    packed = zstd.compress(plain[:PLAIN], 19)
    start = FIXED.pack(b"TWCP", version, 0, 0, 1 << 20, len(packed), len(plain[:PLAIN])) + packed
    end = struct.pack("<IQ", 0, 0) + bytes(16)
    return start + end + hashlib.blake2b(start + end, digest_size=32).digest()


def said(count: int, names: int) -> bytes:
    """A schema of version 1 that claims ``count`` tensors and names so many."""
    records = b"".join(struct.pack("<HBB", 7, 0, 0) + b"%07d" % i for i in range(names))
    data = struct.pack("<I", count) + records
    return varint(len(data)) + data


def verbatim(text: bytes) -> bytes:
    return varint(len(text)) + text


NONE = said(0, 0)
HOSTILE: dict[str, Callable[[], tuple[int, bytes]]] = {
    "millions of empty pairs": lambda: (1, NONE + bytes(PLAIN - len(NONE))),
    "pairs that differ": lambda: (1, NONE + b"".join(b"\x03%s\0" % struct.pack(">I", i)[1:] for i in range(1 << 16))),
    "one endless text": lambda: (1, NONE + varint(30 << 20) + bytes(30 << 20) + b"\0"),
    "more tensors than are allowed": lambda: (1, said(1 << 20, 1 << 16) + bytes(1 << 20)),
    "tensors without frames": lambda: (1, said(1 << 16, 1 << 16) + bytes(1 << 16)),
    "a claim alone": lambda: (1, said((1 << 32) - 1, 1)),
    "blanks": lambda: (2, verbatim(b"{" + b" " * (PLAIN - 10) + b"}")),
    "nested": lambda: (2, verbatim(b'{"a":' * 3_000_000)),
    "a list": lambda: (2, verbatim(b'{"a":{"shape":[' + b"1," * 8_000_000 + b"1]}}")),
    "escapes": lambda: (2, verbatim(b'{"' + b"\\\\" * 8_000_000)),
    "fields": lambda: (2, verbatim(b'{"a":{' + b",".join(b'"%d":1' % i for i in range(1 << 15)) + b"}}")),
    "texts": lambda: (2, verbatim(b'{"__metadata__":{' + b",".join(b'"%d":""' % i for i in range(1 << 15)) + b"}}")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_head_costs_what_its_file_has(name: str, tmp_path: Path) -> None:
    version, plain = HOSTILE[name]()
    data = file(version, plain)
    (tmp_path / "x.tw").write_bytes(data)

    def refused() -> None:
        with pytest.raises((WireError, CheckpointError)):
            unpack(tmp_path / "x.tw", tmp_path / "back", max_bytes=1 << 20)

    refused()
    tracemalloc.start()
    refused()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (4 << 20) + 16 * min(len(plain), 1 << 20)
    assert calls(refused) < 5000 + max(6 * len(data), 2 * min(len(plain), 1 << 20))
    assert [path.name for path in tmp_path.iterdir()] == ["x.tw"]


def test_a_head_that_no_reader_takes_is_not_written(tmp_path: Path) -> None:
    source = save(tmp_path / "x.safetensors", {"a": torch.zeros(2)}, {"text": "a" * (8 << 20)})
    with pytest.raises(CheckpointError, match="repeats itself"):
        pack(source, tmp_path / "x.tw", Lossless())
    save(source, {"a": torch.zeros(2)}, {f"{i}": "a" for i in range(500)} | {"text": "a" * 500_000})
    pack(source, tmp_path / "x.tw", Lossless())
    unpack(tmp_path / "x.tw", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
