"""Federated accuracy of the ten named compressors at 1 % density upwards, beside dense, over five seeds.

    python bench/sparse_accuracy.py --task digits --out results/sparse/digits

Downwards goes the dense model, so that nothing but the method differs. Finished runs are kept: the same command goes
on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from thinwire.lab.compare import Event, compare, plans, remaining
from thinwire.lab.config import RunConfig
from thinwire.lab.pairings import BASELINE, Pairing
from thinwire.lab.report import write_report

COMPENSATED = ("topk", "gaussian", "randomkec", "dgcsampling", "redsync", "redsynctrim", "hggtopk")
PLAIN = ("topk2", "gaussian2", "randomk")


def pairings(names: Sequence[str]) -> list[Pairing]:
    """Return dense and the methods."""
    return [Pairing(BASELINE, "uncompressed: stock Flower"), *(Pairing(name, name, name, "none") for name in names)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--methods", default=",".join((*COMPENSATED, *PLAIN)))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--rows", type=int, help="train on the first N rows only")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    data = os.environ.get("THINWIRE_DATA")
    base = RunConfig(task=args.task, rounds=args.rounds, rows=args.rows, lr=args.lr, data=Path(data) if data else None)
    todo = remaining(plans(pairings(args.methods.split(",")), base, range(args.seeds)), args.out)

    def show(event: Event) -> None:
        if event.kind in ("finished", "failed"):
            print(event.kind, event.plan.slug, flush=True)

    failed = compare(todo, args.out, args.jobs, show)
    for row in write_report(args.out).report.configurations:
        print(row.group, row)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
