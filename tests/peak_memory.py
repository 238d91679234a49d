"""Run by test_fuzz.py in a process of its own, with a dtype: print the peak bytes that decoding takes per element."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

import thinwire as tw
from thinwire.codec import Codec, Spec, encode_parts
from thinwire.kernels import zstd
from thinwire.testing import INSTANCES, suited

SIDE = 1024
GREEDY = (
    "RandomK(1.0)",
    "TopK(1.0, values=TopK(1.0, values=TopK(1.0)))",
    "TopK(1.0, values=Zstd(), indices=Zstd())",
    "Step(step=1e-30)",
    f"LowRank(rank={SIDE})",
)


def main() -> None:
    torch.set_num_threads(1)
    dtype: torch.dtype = getattr(torch, sys.argv[1])
    codecs = [row.codec for row in INSTANCES if row.domain == "update"] + [tw.parse(text) for text in GREEDY]
    peaks = {str(codec): peak_of(codec, dtype) for codec in codecs}
    print(json.dumps(peaks | {f"bomb under {name}": bomb_under(name) for name in ("Zstd", "Planes")}))


def peak_of(codec: Codec, dtype: torch.dtype) -> float:
    x = suited("update", (SIDE, SIDE), dtype)
    concrete = codec if codec.lossless else codec.fit(x, 0)
    data = tw.dumps({"x": encode_parts(concrete, x, 1, {})[0]})
    return peak_bytes_per_element(data, Spec.of(x))


def bomb_under(name: str) -> float:
    """A valid frame of four mebibytes of zeros, whose payload is replaced by one of 256 MiB."""
    spec, bomb = Spec((SIDE, SIDE), torch.float32), zstd.compress(bytes(1 << 28), 19)
    encoded = tw.encode(tw.parse(f"{name}()"), torch.zeros(SIDE, SIDE))
    (part,) = encoded.parts
    swollen = tw.Encoded(encoded.codec, spec, {part: torch.frombuffer(bytearray(bomb), dtype=torch.uint8)})
    return peak_bytes_per_element(tw.dumps({"x": swollen}), spec)


def peak_bytes_per_element(data: bytes, spec: Spec) -> float:
    def decode() -> None:
        with suppress(tw.WireError):
            tw.decode(tw.loads(data, {"x": spec})["x"])

    decode()
    # What the allocator keeps from before only ever adds to a peak.
    return min(peak_bytes(decode) for _ in range(2)) / spec.numel


def peak_bytes(action: Callable[[], object]) -> int:
    # Freed memory that the allocator keeps would hide the next peak.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = most_resident_bytes()
    action()
    return most_resident_bytes() - before


def most_resident_bytes() -> int:
    """Peak, with mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
