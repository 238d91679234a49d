"""Every strategy of Flower beside itself with compression: accuracy and bytes, stock and through thinwire.

    python bench/strategies.py --out results/strategies.json

Same data, partition, seeds, initial weights and training for both; DP wrappers clip to a norm that rarely bites and add
little noise, so that the difference shown is compression's, not privacy's.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
    Strategy,
)

from thinwire.files import write_files
from thinwire.flower import CompressedGrid, compress_client, quiet_flwr, run_local
from thinwire.lab.config import RunConfig
from thinwire.lab.environment import environment
from thinwire.lab.federation import Clients, server_app
from thinwire.lab.one_thread import one_thread
from thinwire.lab.record import Recorder, totals
from thinwire.lab.run import prepare
from thinwire.lab.strategies import strategy

CLIP, NOISE = 30.0, 0.001
PLAIN = (
    "FedAvg", "FedAvgM(server_momentum=0.5)", "FedAdam(eta=0.01, tau=0.001)", "FedYogi(eta=0.01, tau=0.001)",
    "FedMedian", "Krum(num_malicious_nodes=2)", "FedProx(proximal_mu=0.1)",
)  # fmt: skip
Build = Callable[[], Strategy]


def builders(clients: int) -> dict[str, tuple[Build, Sequence]]:
    """Return name -> (a new strategy, the client mods it needs)."""

    def plain(text: str) -> Strategy:
        return strategy(text).build(clients, 1.0)

    found: dict[str, tuple[Build, Sequence]] = {text: (lambda text=text: plain(text), ()) for text in PLAIN}
    found["DP server-side clipping (FedAvg)"] = (
        lambda: DifferentialPrivacyServerSideFixedClipping(plain("FedAvg"), NOISE, CLIP, clients),
        (),
    )
    found["DP client-side clipping (FedAvg)"] = (
        lambda: DifferentialPrivacyClientSideFixedClipping(plain("FedAvg"), NOISE, CLIP, clients),
        (fixedclipping_mod,),
    )
    return found


def run_one(build: Build, mods: Sequence, config: RunConfig) -> dict:
    """Run one strategy and return its final accuracy, bytes and failures."""
    task, training, prepared = config.found_task, config.training, prepare(config)
    model = task.model(config.seed)
    clients = Clients(task, task.model(config.seed), prepared.data.train, prepared.parts, training, config.seed)
    recorder = Recorder(task, model, prepared.data.test, clients.trained, lambda row: None)

    def wrap(grid: Grid) -> Grid:
        compressed = (
            CompressedGrid(grid, config.uplink, config.downlink, training.rounds) if config.compressed else None
        )
        return recorder.watch(grid, compressed)

    app = ClientApp(mods=list(mods))
    app.train()(clients.train)
    server = server_app(build(), model, training.rounds, recorder.evaluate, wrap)
    run_local(server, compress_client(app) if config.compressed else app, training.clients, seed=config.seed)
    last = recorder.rows[-1]
    summed = totals(recorder.rows)
    return {
        "accuracy": last["metric"],
        "total_bytes": summed["up_bytes"] + summed["down_bytes"],
        "failures": sum(row["failures"] for row in recorder.rows),
    }


def compare(seeds: Sequence[int], rounds: int) -> dict:
    """Return stock and compressed results of every strategy on the digits task."""
    configs = {"stock": {}, "thinwire": {"uplink": "auto", "downlink": "auto"}}
    rows = []
    for name, (build, mods) in builders(10).items():
        row: dict = {"strategy": name}
        for kind, ends in configs.items():
            found = [run_one(build, mods, RunConfig("digits", rounds=rounds, seed=seed, **ends)) for seed in seeds]
            row[kind] = {key: sum(run[key] for run in found) / len(found) for key in found[0]}
        row["ratio"] = row["stock"]["total_bytes"] / row["thinwire"]["total_bytes"]
        print(
            f"{name:34s} stock {row['stock']['accuracy']:.4f}  thinwire {row['thinwire']['accuracy']:.4f}  "
            f"{row['ratio']:.1f}x fewer bytes  {row['thinwire']['failures']:.0f} failures",
            flush=True,
        )
        rows.append(row)
    settings = {"task": "digits", "seeds": list(seeds), "rounds": rounds, "uplink": "auto", "downlink": "auto"}
    return {"schema": "thinwire.strategies/1", "settings": settings, "strategies": rows, "environment": environment()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/strategies.json"))
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds (default 3)")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    with one_thread(), quiet_flwr(logging.ERROR):
        result = compare(range(args.seeds), args.rounds)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_files({args.out: json.dumps(result, indent=1) + "\n"})
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
