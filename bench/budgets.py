"""ByteBudget beside one setting for all tensors and beside L-GreCo, at equal bytes on recorded updates.

    python bench/budgets.py --out results/budgets.json

`uniform` is the same bound on the error for every tensor (the smaller of Rdoq and LowRank takes it), tuned to the bytes
of the budget. `L-GreCo` (Markov et al. 2024, arXiv:2210.17357) is its dynamic program over the same two families:
a table of error and size for each tensor and bound, errors in 10,000 buckets, the least size within a share of the
uniform setting's error; the share is tuned to our bytes. All sizes are those of
really encoded tensors, frames included.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

import numpy as np
import torch

import thinwire as tw
from thinwire.files import write_files
from thinwire.lab.environment import environment
from thinwire.lab.updates import UPDATES, record

OPTIONS = "Smallest()"
"""Rdoq and LowRank, both coded by Ans."""
RATIOS = (32, 64, 128)
RUNGS = tuple(0.9 * 10 ** (-i / 5) for i in range(36))
"""Bounds on the error of the tables: five to a factor of ten, down to 1e-7."""
BUCKETS = 10_000


def squares(x: torch.Tensor) -> float:
    return float(x.double().square().sum())


def tables(update: dict[str, torch.Tensor]) -> dict[str, list[tuple[float, float]]]:
    """Return (error, bytes) of every tensor at every rung."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, x in update.items():
        for rung in RUNGS:
            encoded = tw.encode(tw.Smallest(nmse=rung), x)
            found.setdefault(name, []).append((squares(x - tw.decode(encoded)), encoded.payload_bytes))
    return found


def uniform(update: dict[str, torch.Tensor], table: dict[str, list[tuple[float, float]]], payload: float) -> float:
    """Return the error of the finest single bound for all tensors that takes at most so many bytes, really encoded."""
    sizes = [sum(points[i][1] for points in table.values()) for i in range(len(RUNGS))]
    at = max((i for i, size in enumerate(sizes) if size <= payload), default=0)
    coarse, fine = RUNGS[at], RUNGS[min(at + 1, len(RUNGS) - 1)]
    found = sum(points[at][0] for points in table.values())
    for _ in range(7):
        middle = math.sqrt(coarse * fine)
        encoded = {name: tw.encode(tw.Smallest(nmse=middle), x) for name, x in update.items()}
        if sum(one.payload_bytes for one in encoded.values()) > payload:
            fine = middle
            continue
        coarse = middle
        found = sum(squares(x - tw.decode(encoded[name])) for name, x in update.items())
    return found


def dynamic_program(table: dict[str, list[tuple[float, float]]], most_error: float) -> tuple[float, float]:
    """Return error and bytes of the least size whose error, in buckets, is within the budget: L-GreCo's program."""
    best = np.full(BUCKETS + 1, np.inf)
    best[0] = 0.0
    exact = np.zeros(BUCKETS + 1)
    for points in table.values():
        after, errors = np.full(BUCKETS + 1, np.inf), np.zeros(BUCKETS + 1)
        for error, size in points:
            shift = math.ceil(error / most_error * BUCKETS)
            if shift > BUCKETS:
                continue
            moved = np.full(BUCKETS + 1, np.inf)
            moved[shift:] = best[: BUCKETS + 1 - shift] + size
            known = np.zeros(BUCKETS + 1)
            known[shift:] = exact[: BUCKETS + 1 - shift] + error
            better = moved < after
            after, errors = np.where(better, moved, after), np.where(better, known, errors)
        best, exact = after, errors
    at = int(np.argmin(best))
    return float(exact[at]), float(best[at])


def lgreco(table: dict[str, list[tuple[float, float]]], payload: float, start: float) -> float:
    """Return the program's error at so many bytes: between its nearest results on both sides, both at real sizes."""
    low, high = start / 1024, start * 16
    for _ in range(20):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if dynamic_program(table, middle)[1] < payload else (middle, high)
    (fine, more), (coarse, less) = dynamic_program(table, low), dynamic_program(table, high)
    share = (payload - less) / (more - less)
    return math.exp(share * math.log(fine) + (1 - share) * math.log(coarse))


def measure(update: dict[str, torch.Tensor], ratios: tuple[int, ...]) -> list[dict]:
    dense, energy = sum(4 * x.numel() for x in update.values()), sum(squares(x) for x in update.values())
    table, rows = tables(update), []
    for ratio in ratios:
        budget = int(dense / ratio)
        policy = tw.ByteBudget(total_bytes=budget, codec=tw.parse(OPTIONS))
        message, _, report = tw.Compressor(policy, tw.NoFeedback()).compress(update, {})
        frame = tw.dumps(message)
        decoded = tw.loads(frame, tw.specs(update))
        error = sum(squares(x - tw.decode(decoded[name])) for name, x in update.items())
        same = uniform(update, table, report.payload_bytes)
        theirs = lgreco(table, report.payload_bytes, error)
        rows.append({
            "ratio": ratio, "budget_bytes": budget, "frame_bytes": len(frame), "used": len(frame) / budget,
            "nmse": error / energy, "uniform_nmse": same / energy, "lgreco_nmse": theirs / energy,
            "below_uniform": 1 - error / same, "over_lgreco": error / theirs,
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/budgets.json"))
    parser.add_argument("--updates", default=",".join(UPDATES))
    parser.add_argument("--data", type=Path, default=os.environ.get("THINWIRE_DATA"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in args.updates.split(","):
        # Small tensors are the same for all three: only those that a policy would compress count here.
        update = {k: x for k, x in record(name, args.data).tensors.items() if x.dim() > 1 and x.numel() >= 1024}
        found[name] = measure(update, RATIOS)
        for row in found[name]:
            print(f"{name:10s} 1/{row['ratio']:<4d} used {row['used']:.4f}  NMSE {row['nmse']:.4f}  "
                  f"uniform {row['uniform_nmse']:.4f} ({row['below_uniform']:+.1%})  "
                  f"L-GreCo {row['lgreco_nmse']:.4f} (ours is {row['over_lgreco']:.3f} of it)", flush=True)  # fmt: skip
    settings = {"codec": OPTIONS, "rungs": RUNGS, "buckets": BUCKETS}
    result = {"schema": "thinwire.budgets/1", "settings": settings, "updates": found, "environment": environment()}
    write_files({args.out: json.dumps(result, indent=1) + "\n"})


if __name__ == "__main__":
    main()
