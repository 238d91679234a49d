"""Speed and memory of selection, as multiples of a plain copy of the same tensor timed in the same run.

    python bench/selection.py --out results/selection.json

One thread. The copy goes into memory that exists already, which is the strictest measure: a copy into fresh memory
takes more than twice as long here. The rival is what error feedback with ``torch.topk`` takes. A step is: residual +=
gradient, selection, values and indices out, and the residual without what was sent.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import thinwire as tw
from thinwire.files import write_files
from thinwire.kernels import select
from thinwire.lab.environment import environment

FIRST_CALL = """
import time, torch
x = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))
started = time.perf_counter()
import thinwire as tw
imported = time.perf_counter()
tw.dumps({"x": tw.encode(tw.parse("TopK(0.01, values=Uniform(bits=8))"), x)})
from thinwire.compressors import compressors
compressors["hggtopk"].compress(x, "x", ratio=0.01)
compressors["topk"].compress(x, "x", ratio=0.01)
print(imported - started, time.perf_counter() - imported)
"""


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call, after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def in_copies(run: Callable[[], object], x: Tensor, repeats: int) -> float:
    """Return the median time of a call divided by that of a copy, measured before and after."""
    target = torch.empty_like(x).copy_(x)

    def copied() -> float:
        return seconds(lambda: target.copy_(x), repeats)

    before = copied()
    return 2 * seconds(run, repeats) / (before + copied())


def data(name: str, n: int, seed: int = 0) -> Tensor:
    """Return synthetic gradients."""
    draw = torch.Generator().manual_seed(seed)
    normal = torch.randn(n, generator=draw)
    return normal if name == "normal" else normal.sign() * torch.empty(n).exponential_(generator=draw)


def step_of(text: str, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a step of a codec: residual in place, history from step to step; it returns the indices."""
    codec, residual, history = tw.parse(text), torch.zeros_like(x), {}

    def step(gradient: Tensor) -> Tensor:
        nonlocal history
        indices, history = codec.accumulate(residual, gradient, 0, history)
        select.take_out(residual, indices)
        return indices

    return step


def torch_step(x: Tensor, k: int) -> Callable[[], object]:
    """Return the same step with torch.topk."""
    residual = torch.zeros_like(x)

    def step() -> tuple[Tensor, Tensor]:
        residual.add_(x)
        indices = residual.abs().topk(k, sorted=False).indices
        values = residual[indices]
        residual[indices] = 0
        return indices, values

    return step


def steps(sizes: list[int], repeats: int) -> list[dict]:
    """Time steps with error feedback."""
    rows = []
    for n in sizes:
        for name in ("normal", "laplace"):
            x = data(name, n)
            for density in (0.01, 0.05):
                row: dict = {"id": f"{n}:{name}:{density}", "elements": n, "data": name, "density": density}
                for rule in ("TopK", "HggTopK"):
                    step = step_of(f"{rule}({density})", x)
                    row[rule] = in_copies(lambda step=step, x=x: step(x), x, repeats)
                row["torch.topk"] = in_copies(torch_step(x, int(density * n)), x, max(3, repeats // 3))
                row["speedup"] = row["torch.topk"] / row["TopK"]
                rows.append(row)
                print(row, flush=True)
    return rows


def wrong_history(n: int, repeats: int) -> list[dict]:
    """Time the one step of hggtopk whose history is wrong, and count what it sends."""
    x, density = data("laplace", n), 0.01
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    changes = {"same": x, "x1000": x * 1000, "/1000": x / 1000, "sign": -x, "permuted": x[order]}
    target, rows = torch.empty_like(x), []
    for name, changed in changes.items():
        times, worst = [], 0.0
        for _ in range(repeats):
            step = step_of(f"HggTopK({density})", x)
            step(x)
            started = time.perf_counter()
            sent = len(step(changed))
            times.append(time.perf_counter() - started)
            worst = max(worst, abs(sent / int(density * n) - 1))
        copy_s = seconds(lambda: target.copy_(x), 3)
        rows.append({"change": name, "k_error": worst, "copies": statistics.median(times) / copy_s})
        print(rows[-1], flush=True)
    return rows


def first_calls() -> dict[str, float]:
    """Time import and first calls in new processes: from a cold cache, and from what that left on the disk."""
    with tempfile.TemporaryDirectory() as cache:
        environ = os.environ | {"NUMBA_CACHE_DIR": cache}
        runs = [
            subprocess.run([sys.executable, "-c", FIRST_CALL], env=environ, check=True, capture_output=True, text=True)
            for _ in range(4)
        ]
    (_, cold), *warm = [[float(word) for word in run.stdout.split()] for run in runs]
    return {"cold_s": cold, "disk_cache_s": min(w[1] for w in warm), "import_beyond_torch_s": min(w[0] for w in warm)}


def two_threads(n: int, repeats: int) -> float:
    """Return the throughput of two threads with a tensor each, relative to one thread with one."""
    gradients = [data("laplace", n, seed) for seed in (0, 1)]
    work = [partial(step_of("TopK(0.01)", x), x) for x in gradients]

    def together() -> None:
        threads = [threading.Thread(target=step) for step in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return 2 * seconds(work[0], repeats) / seconds(together, repeats)


def whole_encode(n: int, repeats: int) -> list[dict]:
    """Time tensor to bytes and back, on a random support."""
    x, codec = data("laplace", n), tw.parse("TopK(0.01, values=Uniform(bits=8))")
    frame, expect = tw.dumps({"x": tw.encode(codec, x)}), tw.specs({"x": x})
    row = {
        "codec": str(codec),
        "elements": n,
        "encode": in_copies(lambda: tw.dumps({"x": tw.encode(codec, x)}), x, repeats),
        "decode": in_copies(lambda: tw.decode(tw.loads(frame, expect)["x"]), x, repeats),
        "ratio": x.nbytes / len(frame),
    }
    print(row, flush=True)
    return [row]


def index_coders() -> list[dict]:
    """Compare index bits with log2 C(n, k) on uniform supports."""
    rows = []
    for n in (1_000_000, 25_600_000):
        for density in (0.001, 0.01, 0.05, 0.1):
            support = data("normal", n, 7).abs().topk(int(density * n)).indices.sort().values
            k = len(support)
            least = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
            started = time.perf_counter()
            bits = 8 * tw.encode(tw.Indices(), support).payload_bytes
            rows.append(
                {"elements": n, "density": density, "bits_per_index": bits / k, "of_least": bits / least,
                 "encode_ns_per_index": (time.perf_counter() - started) / k * 1e9}
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def extra_memory(n: int) -> list[dict]:
    """Return the peak of memory that selection allocates beside residual, values and indices, over the tensor's."""
    rows = []
    for density in (0.01, 0.05):
        x = data("laplace", n)
        residual, k = torch.zeros_like(x), int(density * n)
        tracemalloc.start()
        indices = select.accumulate_largest(residual, x, k)
        peak = tracemalloc.get_traced_memory()[1] - indices.nbytes
        tracemalloc.stop()
        rows.append({"density": density, "share_of_tensor": peak / x.nbytes})
        print(rows[-1], flush=True)
    return rows


def processor() -> str:
    """Return the processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=25_600_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("results/selection.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "schema": "thinwire.selection/1",
        "settings": {"dtype": "float32", "threads": 1, "repeats": args.repeats, "processor": processor()},
        "steps": steps([args.elements, 1_000_000], args.repeats),
        "wrong_history": wrong_history(args.elements, 3),
        "first_call": first_calls(),
        "two_threads": two_threads(args.elements, args.repeats),
        "whole_encode": whole_encode(args.elements, args.repeats),
        "index_coders": index_coders(),
        "extra_memory": extra_memory(args.elements),
        "environment": environment(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_files({args.out: json.dumps(result, indent=1) + "\n"})
    print(result["first_call"], {"two threads": result["two_threads"]})
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
