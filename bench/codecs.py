"""Speed and memory of every method as multiples of a plain copy of the same tensor, the bytes it makes, and entropies.

    python bench/codecs.py --elements 25600000 --out results/codecs.json

One thread. The copy goes into memory that exists already, which is the strictest measure, and is timed in the same run,
before and after each codec. Times are CPU seconds of the process, the least of several: other work on the machine does
not count. Encoding ends with the frame's bytes, decoding begins with them. Memory is the most that was resident beside
what is given and what comes out, as a share of the tensor. Data: Laplace, scale 0.01: heavy-tailed like an update,
without its structure (no low rank). Entropy: bits a symbol of coded i.i.d. integers over their Shannon entropy.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import thinwire as tw
from thinwire.files import write_files
from thinwire.lab.environment import environment

STEPS = {"0.3": 0.0267, "0.2": 0.0207, "0.1": 0.0141, "0.01": 0.00428, "8 bits": 0.000212}
"""Steps that come to these errors, or bits an element."""
CODECS = (
    "Raw()", "Cast()", "Planes()", "Uniform(bits=8)", "Uniform(bits=4, block=128)",
    "Uniform(bits=8, symmetric=True, codes=Zstd())", "Step(step=0.02)", "Step(nmse=0.2)", "Step(nmse=0.01)",
    "Step(absolute=0.001)", "Step(nmse=0.01, symbols=Huffman())",
    "TopK(0.01)", "TopK(0.01, values=Uniform(bits=8))", "Threshold(0.05)", "RandomK(0.01)",
    "LowRank(rank=8)",
    *(f"Step(step={step})" for step in STEPS.values()),
    *(f"Step(step={step}, symbols=Ans())" for step in STEPS.values()),
)  # fmt: skip
CODERS = ("Symbols()", "Ans()", "Huffman()")


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the least CPU time of a call after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)


def peak_bytes(run: Callable[[], object]) -> int:
    """Return the most memory that a call added; what the allocator keeps from before only ever adds to it."""
    found = []
    for _ in range(2):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = most_resident_bytes()
        run()
        found.append(most_resident_bytes() - before)
    return min(found)


def most_resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def measure(text: str, x: Tensor, repeats: int) -> dict:
    """Return bytes, error, times and memory of one codec, from a frame that is really decoded."""
    codec, expect = tw.parse(text), tw.specs({"x": x})
    frame = tw.dumps({"x": tw.encode(codec, x)})
    message = tw.loads(frame, expect)["x"]
    decoded = tw.decode(message)
    nmse = float((x - decoded).double().square().sum() / x.double().square().sum())
    copied = [seconds(lambda: decoded.copy_(x), 2 * repeats)]
    encode_s = seconds(lambda: tw.dumps({"x": tw.encode(codec, x)}), repeats)
    decode_s = seconds(lambda: tw.decode(tw.loads(frame, expect)["x"]), repeats)
    copied.append(seconds(lambda: decoded.copy_(x), 2 * repeats))
    copy_s = min(copied)
    return {
        "codec": text,
        "frame_bytes": len(frame),
        "bits_per_element": 8 * len(frame) / x.numel(),
        "ratio": x.numel() * 4 / len(frame),
        "nmse": nmse,
        "encode_copies": encode_s / copy_s,
        "decode_copies": decode_s / copy_s,
        "copy_s": copy_s,
        "encode_extra": beside(message.payload_bytes, lambda: tw.encode(codec, x), x),
        "decode_extra": beside(x.numel() * 4, lambda: tw.decode(message), x),
    }


def beside(out_bytes: int, run: Callable[[], object], x: Tensor) -> float:
    """Return what a call took beside its result, as a share of the tensor; what shares the input's memory takes 0."""
    return max(0.0, (peak_bytes(run) - out_bytes) / (x.numel() * 4))


def entropy(distribution: str, bits: int, count: int) -> list[dict]:
    """Return, for each coder, bits a symbol over the entropy of symbols of about ``bits`` bits."""
    draw = np.random.default_rng(0)
    values = draw.laplace(size=count) if distribution == "laplace" else draw.normal(size=count)
    low, high = 0.01, 1000.0
    while high > low * 1.001:
        scale = (low * high) ** 0.5
        low, high = (scale, high) if shannon(rounded(values, scale)) < bits else (low, scale)
    symbols = rounded(values, low)
    bound, x = shannon(symbols), torch.from_numpy(symbols)
    row = {"distribution": distribution, "bits": bits, "entropy_bits": bound}
    sizes = {text: tw.encode(tw.parse(text), x).payload_bytes for text in CODERS}
    return [row | {"codec": text, "of_entropy": 8 * size / count / bound} for text, size in sizes.items()]


def rounded(values: np.ndarray, scale: float) -> np.ndarray:
    return np.rint(values * scale).astype(np.int32)


def shannon(symbols: np.ndarray) -> float:
    """Return bits a symbol of the symbols' own frequencies."""
    counts = np.bincount(symbols - symbols.min())
    share = counts[counts > 0] / symbols.size
    return float(-(share * np.log2(share)).sum())


def laplace(elements: int) -> Tensor:
    side = int(elements**0.5)
    uniform = torch.rand(side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    return (-0.01 * uniform.sign() * (1 - 2 * uniform.abs()).clamp_min(1e-12).log()).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=25_600_000)
    parser.add_argument("--symbols", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/codecs.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    x, rows = laplace(args.elements), []
    print(f"{'codec':46s} bits/el   ratio      NMSE   encode   decode (copies), memory (tensors)")
    for text in CODECS:
        rows.append(row := measure(text, x, args.repeats))
        print(
            f"{text:46s} {row['bits_per_element']:7.3f} {row['ratio']:7.1f} {row['nmse']:9.2e} "
            f"{row['encode_copies']:8.1f} {row['decode_copies']:8.1f} "
            f"{row['encode_extra']:8.2f} {row['decode_extra']:8.2f}",
            flush=True,
        )
    coded = [row for name in ("laplace", "normal") for bits in (2, 4, 8) for row in entropy(name, bits, args.symbols)]
    for row in coded:
        print(f"{row['distribution']:8s} {row['entropy_bits']:6.3f} bits {row['codec']:10s} {row['of_entropy']:.4f}x")
    settings = {"elements": x.numel(), "dtype": "float32", "distribution": "Laplace(0.01)", "threads": 1}
    result = {
        "schema": "thinwire.codecs/2",
        "settings": settings | {"clock": "CPU seconds, least", "symbols": args.symbols},
        "codecs": rows,
        "entropy": coded,
        "environment": environment(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_files({args.out: json.dumps(result, indent=1) + "\n"})
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
