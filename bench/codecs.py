"""Speed of every method as a multiple of a plain copy of the same tensor, and the bytes it makes.

    python bench/codecs.py --elements 4000000 --out results/codecs.json

One thread. The copy is timed in the same run, between the codecs; the floor of any codec is about one read of the
tensor, half a copy. Data: Laplace, scale 0.01: heavy-tailed like an update, without its structure (no low rank).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import thinwire as tw
from thinwire.lab.environment import environment

CODECS = (
    "Raw()", "Cast()", "Planes()", "Uniform(bits=8)", "Uniform(bits=4, block=128)",
    "Uniform(bits=8, symmetric=True, codes=Zstd())", "Step(step=0.02)", "Step(nmse=0.2)", "Step(nmse=0.01)",
    "Step(absolute=0.001)", "Step(nmse=0.01, symbols=Huffman())",
    "TopK(0.01)", "TopK(0.01, values=Uniform(bits=8))", "Threshold(0.05)", "RandomK(0.01)",
    "LowRank(rank=8)",
)  # fmt: skip


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def measure(text: str, x: torch.Tensor, repeats: int) -> dict:
    """Return bytes, error and times of one codec, from a frame that is really decoded."""
    codec, expect = tw.parse(text), tw.specs({"x": x})
    frame = tw.dumps({"x": tw.encode(codec, x)})
    decoded = tw.decode(tw.loads(frame, expect)["x"])
    copy_s = seconds(x.clone, repeats)
    encode_s = seconds(lambda: tw.dumps({"x": tw.encode(codec, x)}), repeats)
    decode_s = seconds(lambda: tw.decode(tw.loads(frame, expect)["x"]), repeats)
    return {
        "codec": text,
        "frame_bytes": len(frame),
        "bits_per_element": 8 * len(frame) / x.numel(),
        "ratio": x.numel() * 4 / len(frame),
        "nmse": float((x - decoded).double().square().sum() / x.double().square().sum()),
        "encode_copies": encode_s / copy_s,
        "decode_copies": decode_s / copy_s,
        "copy_s": copy_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/codecs.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    side = int(args.elements**0.5)
    uniform = torch.rand(side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    x = (-0.01 * uniform.sign() * (1 - 2 * uniform.abs()).clamp_min(1e-12).log()).float()
    rows = []
    print(f"{'codec':46s} {'bits/el':>8s} {'ratio':>7s} {'NMSE':>9s} {'encode':>8s} {'decode':>8s}   (times in copies)")
    for text in CODECS:
        rows.append(row := measure(text, x, args.repeats))
        print(
            f"{text:46s} {row['bits_per_element']:8.3f} {row['ratio']:7.1f} {row['nmse']:9.2e} "
            f"{row['encode_copies']:8.1f} {row['decode_copies']:8.1f}",
            flush=True,
        )
    settings = {"elements": x.numel(), "dtype": "float32", "distribution": "Laplace(0.01)", "threads": 1}
    result = {"schema": "thinwire.codecs/1", "settings": settings, "codecs": rows, "environment": environment()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
