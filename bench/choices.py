"""The measurements behind three choices: entropy coder, dead zone, and quantizer or low rank.

    python bench/choices.py --out results/choices.json

Symbols are i.i.d. Laplace through a quantizer; updates are one client's on the digits task, from a model that saw all
data once and five times. Sizes are real payloads.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

import thinwire as tw
from thinwire.files import write_files
from thinwire.lab.environment import environment
from thinwire.lab.tasks import find, partition

STEPS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
DEAD_ZONES = (0.5, 0.55, 0.6, 0.66, 0.7, 0.75, 0.8, 0.9, 1.0)
BOUNDS = (0.3, 0.2, 0.1, 0.05, 0.01)


def laplace(count: int) -> Tensor:
    """Return float64 samples of scale 1 from a private generator."""
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    return -uniform.sign() * (1 - 2 * uniform.abs()).clamp_min(1e-12).log()


def bits(codec: object, x: Tensor) -> float:
    """Return payload bits an element."""
    return 8 * tw.encode(codec, x).payload_bytes / x.numel()


def entropy_coders() -> list[dict]:
    """Compare `Symbols` and `Huffman` with the entropy, by tensor size and step."""
    rows = []
    for count in (3_000, 30_000, 1_000_000):
        for step in STEPS:
            x = laplace(count) / step
            symbols = torch.where(x.abs() < 0.66, torch.zeros_like(x), x.round()).to(torch.int32)
            shares = symbols.unique(return_counts=True)[1] / count
            entropy = -float((shares * shares.log2()).sum())
            row = {"symbols": bits(tw.Symbols(), symbols), "huffman": bits(tw.Huffman(), symbols)}
            rows.append({"elements": count, "entropy": entropy, **row})
            print(
                f"{count:8d} symbols, entropy {entropy:.3f}: Symbols {row['symbols']:.3f}, Huffman {row['huffman']:.3f}"
            )
    return rows


def updates() -> dict[str, Tensor]:
    """Return the hidden layer's update of one client after one and after five passes of central training."""
    task = find("digits")
    data, model = task.load(None), task.model(0)
    part = partition(task.training.partition)(data.train[-1], 10, 0)[3]
    found = {}
    for passes in range(1, 6):
        task.train(model, data.train, task.training, passes)
        before = {name: x.clone() for name, x in model.state_dict().items()}
        local = task.model(0)
        local.load_state_dict(before)
        task.train(local, tuple(column[torch.from_numpy(part)] for column in data.train), task.training, 99)
        name = "2.weight"
        found[f"after {passes}"] = local.state_dict()[name] - before[name]
    return {name: found[name] for name in ("after 1", "after 5")}


def dead_zones(x: Tensor) -> list[dict]:
    """Bits an element of `Step` by bound and dead zone."""
    return [
        {"nmse": bound, "dead_zone": zone, "bits": bits(tw.Step(nmse=bound, dead_zone=zone), x)}
        for bound in BOUNDS
        for zone in DEAD_ZONES
    ]


def families(x: Tensor) -> list[dict]:
    """Bits an element at the same bound; top-k (values in 8 bits) takes the density that meets it."""
    rows = []
    for bound in BOUNDS:
        row = {"nmse": bound, "step": bits(tw.Step(nmse=bound), x), "lowrank": bits(tw.LowRank(nmse=bound), x)}
        row["uniform"] = bits(tw.Uniform(nmse=bound, symmetric=True, codes=tw.Zstd()), x)
        row["topk"] = next(b for density in range(1, 101) if (b := topk_within(x, density / 100, bound)))
        rows.append(row)
        print("  ".join(f"{name} {value:.3f}" for name, value in row.items()))
    return rows


def topk_within(x: Tensor, density: float, bound: float) -> float | None:
    """Return top-k's bits an element at a density, where its error is within the bound."""
    encoded = tw.encode(tw.TopK(density, values=tw.Uniform(bits=8)), x)
    error = float((tw.decode(encoded) - x).double().square().sum() / x.double().square().sum())
    return 8 * encoded.payload_bytes / x.numel() if error <= bound or density == 1 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/choices.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    real = updates()
    result = {
        "schema": "thinwire.choices/1",
        "entropy_coders": entropy_coders(),
        "dead_zones": {name: dead_zones(x) for name, x in real.items()},
        "families": {name: families(x) for name, x in real.items()},
        "environment": environment(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_files({args.out: json.dumps(result, indent=1) + "\n"})
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
