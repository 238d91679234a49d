"""Fuzz the decoder with frames of every codec and write what came of it as JSON. Exit status 1 if it found a bug.

python bench/fuzz.py --mutations 1000000 --seed 1 --out results/fuzz.json

Part of the mutations look for time: they go on from the slowest frames so far, per byte of schema and frame. The worst
is made small and is in the result, with its bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import torch

import thinwire
from thinwire import wire
from thinwire.files import write_files
from thinwire.testing.fuzz import ACCEPTED, BUG, corpus, judge, verdicts
from thinwire.testing.mutate import Sample, mutant, smaller
from thinwire.testing.slow import SlowSearch

LARGE_SHAPE = (160, 120)
"""Large enough that the compiled kernels run."""
SCHEMA_S, FRAME_S = 1e-6, 2e-6
"""Seconds that work may take: docs/wire-format.md."""
MOST_SHOWN = 4096
SHARE_FOR_TIME = 10
"""One mutation in so many more looks for time."""


def main() -> int:
    args = arguments()
    torch.set_num_threads(1)
    if args.dense:
        from fuzz_dense import fuzz_dense  # needs flwr

        return written(described() | fuzz_dense(args.dense, args.seed), args.out)
    if args.packed:
        from fuzz_packed import fuzz_packed  # needs safetensors

        return written(described() | fuzz_packed(args.packed, args.seed), args.out)
    samples = corpus() * 12 + corpus(shape=LARGE_SHAPE) if args.side is None else sized_corpus(args.side)
    for sample in samples:
        judge(sample)
    baseline_bytes = start_watching_memory(args.headroom_mib)
    result = fuzz(samples, args.mutations, args.seed)
    result["slowest"] = slowest(samples, args.mutations // SHARE_FOR_TIME, args.seed)
    result["peak_bytes_above_baseline"] = peak_bytes() - baseline_bytes
    result["largest_schema_bytes"] = max(schema_bytes(sample) for sample in samples)
    return written(result, args.out)


def written(result: dict[str, Any], out: str | None) -> int:
    text = json.dumps(result, indent=1)
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_files({Path(out): text + "\n"})
    print(text if not out else f"{out}: {result['accepted']} accepted, {len(result['bugs'])} bugs")
    return 1 if result["bugs"] else 0


def described() -> dict[str, Any]:
    return {
        "schema": "thinwire.fuzz/1",
        "source": f"thinwire {thinwire.__version__}",
        "environment": {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()},
    }


def sized_corpus(side: int) -> list[Sample]:
    return [sample for sample in corpus(shape=(side, side)) if sample.expect is not None]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dense", type=int, help="instead: so many replies of ordinary arrays to a Flower server")
    parser.add_argument("--packed", type=int, help="instead: so many packed checkpoints to the reader of them")
    parser.add_argument("--out", help="JSON file to write; standard output if none is given")
    parser.add_argument("--side", type=int, help="mutate only messages of side x side tensors: shows how memory grows")
    parser.add_argument("--headroom-mib", type=int, help="address space above the baseline; more is a MemoryError")
    return parser.parse_args()


def fuzz(samples: list[Sample], mutations: int, seed: int) -> dict[str, object]:
    counts: Counter[str] = Counter()
    bugs: list[str] = []
    began = last = time.perf_counter()
    slowest_s = 0.0
    for done, (sample, verdict) in enumerate(verdicts(samples, mutations, seed), 1):
        now = time.perf_counter()
        slowest_s, last = max(slowest_s, now - last), now
        if verdict.startswith(BUG):
            bugs.append(f"{verdict} <- {sample.data.hex()}")
        else:
            counts[verdict] += 1
        if done % max(1, mutations // 20) == 0:
            print(f"{done} mutations, {len(bugs)} bugs, {done / (now - began):.0f} a second", file=sys.stderr)
    accepted = counts.pop(ACCEPTED, 0)
    return {
        **described(),
        "mutations": mutations,
        "seed": seed,
        "frames": len(samples),
        "accepted": accepted,
        "refused": dict(counts.most_common()),
        "bugs": bugs,
        "slowest_s": round(slowest_s, 4),
        "wall_s": round(last - began, 1),
    }


def slowest(samples: list[Sample], mutations: int, seed: int) -> dict[str, object]:
    """Return the slowest frame per byte that a search finds, made small; ``share`` is of the time allowed to it."""
    rng, search = Random(seed), SlowSearch(decode_all, allowed_s)
    short = corpus(shape=(1,))
    for sample in (*samples, *short):
        search.offer(sample)
    for _ in range(mutations):
        slow = [kept.item for kept in search.pool]
        search.offer(mutant(rng, slow if slow and rng.random() < 0.5 else rng.choice((samples, short))))
    worst = search.worst(smaller)
    return {
        "timed": search.timed,
        "share_of_allowed": round(worst.share, 2),
        "seconds": round(worst.seconds, 6),
        "frame_bytes": len(worst.item.data),
        "schema_bytes": worst.item.schema_bytes,
        "frame": worst.item.data.hex() if len(worst.item.data) <= MOST_SHOWN else None,
        "allowed": f"{SCHEMA_S:g} s a schema byte, {FRAME_S:g} s a frame byte",
    }


def decode_all(sample: Sample) -> None:
    wire.decode_message(sample.read())


def allowed_s(sample: Sample) -> float:
    return SCHEMA_S * sample.schema_bytes + FRAME_S * len(sample.data)


def start_watching_memory(headroom_mib: int | None) -> int:
    """Return the resident bytes now, forget the peak so far, and limit what may still be mapped."""
    # Freed memory that the allocator keeps would hide the next peak.
    ctypes.CDLL(None).malloc_trim(0)
    if headroom_mib is not None:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + (headroom_mib << 20),) * 2)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_bytes()
    return peak_bytes()


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def schema_bytes(sample: Sample) -> int:
    return max(encoded.spec.nbytes for encoded in sample.read().values())


if __name__ == "__main__":
    sys.exit(main())
