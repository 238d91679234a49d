"""Error bounds over a thousand million values: what a peer decodes from a real frame, compared in float64.

    python bench/error_bounds.py --values 1000000000 --out results/error_bounds.json

One thread. Every kind of values meets every dtype and every bound of `Step`: absolute and relative ones for each value,
NMSE for each tensor. The share of the bound that the worst error takes says that the bound is not met by luck.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Generator, Tensor

import thinwire as tw
from thinwire.files import write_files
from thinwire.lab.environment import environment

ELEMENTS = 1 << 20
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
BOUNDS = (
    ("absolute", 1e-1), ("absolute", 1e-3), ("absolute", 1e-6), ("absolute", 1e-9),
    ("relative", 1e-1), ("relative", 1e-3), ("relative", 1e-7), ("nmse", 1e-1), ("nmse", 1e-4),
)  # fmt: skip
"""Absolute bounds are of values about 1: the third and fourth are below one ulp of most."""


def normal(draw: Generator) -> Tensor:
    return torch.randn(ELEMENTS, generator=draw, dtype=torch.float64)


def laplace(draw: Generator) -> Tensor:
    signs = torch.randint(2, (ELEMENTS,), generator=draw) * 2 - 1
    return torch.empty(ELEMENTS, dtype=torch.float64).exponential_(generator=draw) * signs


def outliers(draw: Generator) -> Tensor:
    """Return the cubes of normals, and among them some of 1e30 (or the dtype's largest tenth)."""
    x = normal(draw) ** 3
    x[torch.randint(ELEMENTS, (9,), generator=draw)] = 1e30
    return x


def magnitudes(draw: Generator) -> Tensor:
    """Return every magnitude from 1e-38 to 1e8 as often."""
    return normal(draw).sign() * 10 ** (torch.rand(ELEMENTS, generator=draw, dtype=torch.float64) * 46 - 38)


def subnormals(draw: Generator) -> Tensor:
    """Return subnormals of float32, some ordinary numbers among them."""
    x = normal(draw) * 1e-41
    x[::4096] = normal(draw)[::4096]
    return x


def halves(draw: Generator) -> Tensor:
    """Return what lies midway between two multiples of a step, and its neighbours: rounding decides."""
    middle = torch.randint(-5000, 5000, (ELEMENTS,), generator=draw).double() + 0.5
    return middle * 2e-3 * (1 + torch.randint(-2, 3, (ELEMENTS,), generator=draw) * 2.0**-24)


def constants(draw: Generator) -> Tensor:
    return torch.full((ELEMENTS,), float(torch.randn((), generator=draw)), dtype=torch.float64)


KINDS: dict[str, Callable[[Generator], Tensor]] = {
    kind.__name__: kind for kind in (normal, laplace, outliers, magnitudes, subnormals, halves, constants)
}


@dataclass
class Row:
    """What one kind of values under one bound came to."""

    kind: str
    dtype: str
    bound: str
    values: int = 0
    violations: int = 0
    worst_share: float = 0.0
    payload_bytes: int = 0

    def add(self, x: Tensor, name: str, bound: float) -> None:
        """Send a tensor and compare what arrives."""
        codec, expect = tw.parse(f"Step({name}={bound!r})"), tw.specs({"x": x})
        frame = tw.dumps({"x": tw.encode(codec, x)})
        y = tw.decode(tw.loads(frame, expect)["x"])
        shares = shares_of(x.double(), y.double(), name, bound)
        self.values += x.numel()
        self.payload_bytes += len(frame)
        self.violations += int((~(shares <= 1)).sum()) * (x.numel() if name == "nmse" else 1)
        self.worst_share = max(self.worst_share, float(shares.max()))


def shares_of(x: Tensor, y: Tensor, name: str, bound: float) -> Tensor:
    """Return the share of the bound that each error takes; one for the whole tensor where the bound is of that."""
    unit = float(x.abs().max()) or 1.0
    if name == "nmse":
        squares = (x / unit).square().sum()
        return ((x / unit - y / unit).square().sum() / squares / bound if squares else (x - y).abs()).reshape(-1)
    allowed = bound if name == "absolute" else bound * unit * math.sqrt(float((x / unit).square().mean()))
    error = (x - y).abs_()
    return error / allowed if allowed else error.mul_(math.inf).nan_to_num_(0.0)


def rows(values: int) -> Iterator[Row]:
    """Yield a row for each kind, dtype and bound; all have as many values, of several seeds."""
    cases = list(product(KINDS, DTYPES, BOUNDS))
    repeats = -(-values // (ELEMENTS * len(cases)))
    for number, (kind, dtype, (name, bound)) in enumerate(cases):
        row = Row(kind, str(dtype).removeprefix("torch."), f"{name}={bound:g}")
        for repeat in range(repeats):
            draw = torch.Generator().manual_seed(1000 * number + repeat)
            most = torch.finfo(dtype).max / 10
            row.add(KINDS[kind](draw).clamp(-most, most).to(dtype).view(1024, -1), name, bound)
        yield row


def progress(done: int, values: int, violations: int) -> None:
    width = min(40, 40 * done // values)
    print(f"\r[{'#' * width:40s}] {done:13,d} values, {violations} violations", end="", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=1_000_000_000)
    parser.add_argument("--out", type=Path, default=Path("results/error_bounds.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Row] = []
    for row in rows(args.values):
        found.append(row)
        progress(sum(row.values for row in found), args.values, sum(row.violations for row in found))
    result = {
        "schema": "thinwire.error-bounds/1",
        "values": sum(row.values for row in found),
        "violations": sum(row.violations for row in found),
        "rows": [vars(row) for row in found],
        "environment": environment(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_files({args.out: json.dumps(result, indent=1) + "\n"})
    print(f"\n{result['violations']} violations in {result['values']:,d} values, written to {args.out}")


if __name__ == "__main__":
    main()
