"""Would the shared past help? Bits an element of updates under contexts from rows, columns, and the last update.

    THINWIRE_DATA=folder python bench/shared_past.py --out results/shared-past.json

Conditional entropies (24 classes, magnitudes' tables at 8 bits an entry, signs at a bit): `order-0`; `rows and columns`
(product of mean magnitudes, 5 bits a row and column); `past` (magnitude of the global update of the round before, which
both ends hold); `mixed` (the least-squares mix of both, in logarithms). `ans` is what the real coder takes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

import numpy as np
import torch

from thinwire.files import write_files
from thinwire.kernels import ans
from thinwire.lab.environment import environment
from thinwire.lab.updates import record

UPDATES = ("mlp-sgd", "cnn-sgd", "cnn-adamw", "gpt-sgd", "gpt-adamw")
BOUNDS = (0.1, 0.01)
CLASSES, ENTRY_BITS, SIDE_BITS, DEAD_ZONE = 24, 8, 5, 0.6


def quantized(x: torch.Tensor, step: float) -> torch.Tensor:
    y = x / step
    return torch.where(y.abs() < DEAD_ZONE, torch.zeros(()), y.round())


def step_within(tensors: list[torch.Tensor], bound: float) -> float:
    """Return the largest common step whose error is within the bound."""
    energy, low, high = sum(float(x.square().sum()) for x in tensors), -25.0, 3.0
    for _ in range(30):
        middle = (low + high) / 2
        step = math.exp(middle)
        error = sum(float((x - step * quantized(x, step)).square().sum()) for x in tensors)
        low, high = (middle, high) if error <= bound * energy else (low, middle)
    return math.exp(low)


def conditional_bits(symbols: np.ndarray, classes: np.ndarray) -> float:
    total, magnitudes = 0.0, np.minimum(np.abs(symbols), 30)
    for one in np.unique(classes):
        some = magnitudes[classes == one]
        counts = np.bincount(some)
        counts = counts[counts > 0]
        total -= float((counts * np.log2(counts / some.size)).sum())
        total += ENTRY_BITS * counts.size + int(np.count_nonzero(some))
    return total


def classed(score: np.ndarray) -> np.ndarray:
    low, high = np.quantile(score, [0.001, 0.999])
    return np.clip(((score - low) / (high - low + 1e-12) * CLASSES).astype(int), 0, CLASSES - 1)


def bits(x: torch.Tensor, past: torch.Tensor, step: float) -> dict[str, float]:
    symbols = quantized(x, step).numpy().astype(np.int32).reshape(x.shape[0], -1)
    flat, before = symbols.reshape(-1), np.abs(past.numpy().reshape(-1))
    size = np.abs(symbols) + 1e-3
    sides = (np.log(size.mean(1, keepdims=True)) + np.log(size.mean(0, keepdims=True))).reshape(-1)
    history = np.log(before + 0.05 * before.mean() + 1e-12)
    factors = np.stack([np.ones(flat.size), sides, history], 1)
    mixed = factors @ np.linalg.lstsq(factors, np.log(np.abs(flat) + 0.1), rcond=None)[0]
    named = SIDE_BITS * sum(symbols.shape)
    return {
        "order-0": conditional_bits(flat, np.zeros(flat.size, int)),
        "rows and columns": conditional_bits(flat, classed(sides)) + named,
        "past": conditional_bits(flat, classed(history)),
        "mixed": conditional_bits(flat, classed(mixed)) + named,
        "ans": 8.0 * len(ans.encode(flat, tuple(x.shape))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/shared-past.json"))
    parser.add_argument("--data", type=Path, default=os.environ.get("THINWIRE_DATA"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in UPDATES:
        update = record(name, args.data)
        large = {key: x for key, x in update.tensors.items() if x.dim() > 1 and x.numel() >= 1024}
        count = sum(x.numel() for x in large.values())
        for bound in BOUNDS:
            step = step_within(list(large.values()), bound)
            each = [bits(x, update.previous[key], step) for key, x in large.items()]
            total = {key: sum(one[key] for one in each) / count for key in each[0]}
            rows.append({"update": name, "nmse": bound, **total})
            print(name, bound, {key: round(value, 4) for key, value in total.items()}, flush=True)
    result = {"schema": "thinwire.shared-past/1", "rows": rows, "environment": environment()}
    write_files({args.out: json.dumps(result, indent=1) + "\n"})


if __name__ == "__main__":
    main()
