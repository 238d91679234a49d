"""Made-up runs to report on, and the folder that holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROUNDS = 4
Json = dict[str, Any]


def one_round(number: int, metric: float, up: int, down: int, lossy: bool) -> Json:
    busy = 1.0 if number else 0.0
    sizes = {"up_bytes": up, "down_bytes": down, "up_payload_bytes": up, "down_payload_bytes": down}
    sizes = {key: value if number else 0 for key, value in sizes.items()}
    errors = {"up_nmse": 0.02 if lossy and number else None, "down_nmse": 0.01 if lossy and number else None}
    times = {"encode_s": 0.02 * lossy, "decode_s": 0.01 * lossy, "train_s": busy, "round_s": busy}
    return {"round": number, "metric": metric, "loss": 0.1, "replies": 2, "failures": 0} | sizes | errors | times


def make(group: str, metric: float, size: int, seed: int = 0, **config: object) -> Json:
    """Return a run of `size` bytes in all, a quarter of them up, that ends at `metric`."""
    lossy = group != "uncompressed"
    up = size // 4 // ROUNDS
    down = size // ROUNDS - up
    rounds = [one_round(at, 0.1 + (metric - 0.1) * at / ROUNDS, up, down, lossy) for at in range(ROUNDS + 1)]
    keys = ("up_bytes", "down_bytes", "up_payload_bytes", "down_payload_bytes", "encode_s", "decode_s")
    totals = {key: sum(item[key] for item in rounds) for key in keys}
    settings = {"task": "digits", "clients": 2, "rounds": ROUNDS, "optimizer": "SGD(lr=0.05)", "seed": seed}
    return {
        "schema": "thinwire.run/1",
        "name": f"{group} in words",
        "slug": f"{group}-seed{seed}",
        "group": group,
        "source": "thinwire 0.1.0",
        "config": settings | {"uplink": f"{group} up", "downlink": f"{group} down"} | config,
        "metric": {"name": "accuracy", "higher_is_better": True},
        "environment": {"python": "3.11", "machine": "x86_64"},
        "model": {
            "parameters": 10,
            "dense_bytes": 40,
            "tensors": {"fc.weight": {"shape": [2, 5], "up_bytes": totals["up_bytes"], "down_bytes": 3}},
        },
        "rounds": rounds,
        "totals": totals | {"total_bytes": totals["up_bytes"] + totals["down_bytes"], "wall_s": 5.0},
        "final": {"metric": metric, "loss": 0.1},
    }


def save(folder: Path, *runs: Json) -> Path:
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    for at, run in enumerate(runs):
        (folder / "runs" / f"{at:02}.json").write_text(json.dumps(run), encoding="utf-8")
    return folder


def federation(seeds: int = 3) -> list[Json]:
    """Return five configurations that differ a little from seed to seed."""
    table = [("uncompressed", 0.97, 40_000_000), ("auto", 0.969, 1_300_000), ("quantize+lowrank", 0.968, 3_400_000)]
    table += [("lowrank+quantize", 0.95, 900_000), ("sparsify+quantize", 0.9651, 2_100_000)]
    return [
        make(group, metric + 0.001 * seed, size + 40 * seed, seed)
        for group, metric, size in table
        for seed in range(seeds)
    ]
