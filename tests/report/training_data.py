"""Made-up data-parallel runs to report on."""

from __future__ import annotations

import math
import random
from typing import Any

STEPS = 90
EPOCHS = 3
Json = dict[str, Any]
DENSE_BYTES = 3_000_000


def make(
    compressor: str, accuracy: float, ratio: float = 1.0, seed: int = 0, exposed_s: float = 0.004, **config: object
) -> Json:
    """Return a run that ends at `accuracy` and sends `ratio` times fewer bytes than dense ones."""
    draw = random.Random(f"{compressor} {seed}")
    sent = round(DENSE_BYTES / ratio)
    lossy = compressor != "none"
    losses = [2.3] + [2.3 * math.exp(-0.03 * at * accuracy) * draw.uniform(0.8, 1.2) for at in range(1, STEPS)]
    steps: Json = {"loss": losses, "sent_bytes": [sent] * STEPS, "dense_bytes": [DENSE_BYTES] * STEPS}
    times = {"forward_s": 0.003, "backward_s": 0.006, "exposed_s": exposed_s, "update_s": 0.001}
    times["encode_s"] = exposed_s / 2 if lossy else 0.0
    steps |= {key: [value * draw.uniform(0.9, 1.1) for _ in range(STEPS)] for key, value in times.items()}
    sparse = "topk" in compressor
    steps |= {"kept": [99 * sparse] * STEPS, "wanted": [100 * sparse] * STEPS}
    settings = {"model": "small-cnn", "dataset": "digits", "compressor": compressor, "density": None, "workers": 2}
    settings |= {"epochs": EPOCHS, "steps": None, "use_pipeline": False, "simulate": False, "seed": seed}
    return {
        "schema": "thinwire.train/1",
        "source": "thinwire 0.1.0",
        "config": settings | {"method": f"{compressor} in full"} | config,
        "metric": {"name": "accuracy", "higher_is_better": True},
        "environment": {"python": "3.11", "machine": "x86_64"},
        "model": {"parameters": 10, "dense_bytes": 40},
        "exchanges": {"fc.weight": "gather", "fc.bias": "sum"} if lossy else {},
        "steps": steps,
        "epochs": [_epoch(at, accuracy) for at in range(1, EPOCHS + 1)],
        "wall_s": 5.0,
        "totals": {"steps": STEPS, "sent_bytes": sent * STEPS, "ratio": ratio, "wall_s": 5.0},
        "final": {"accuracy": accuracy, "loss": 0.1},
        "link": {"latency_s": 5e-5, "bandwidth_bps": 1e9},
        "worth": {"pays": exposed_s < 0.004, "dense_s": 0.004, "text": "an estimate in words"} if lossy else None,
    }


def _epoch(number: int, accuracy: float) -> Json:
    return {"epoch": number, "step": STEPS * number // EPOCHS, "accuracy": accuracy * number / EPOCHS, "loss": 0.1}


ALL = {
    "none": (0.97, 1, 0.004), "torch-fp16": (0.969, 2, 0.003), "torch-powersgd": (0.966, 80, 0.009),
    "hggtopk": (0.965, 75, 0.012), "topk": (0.966, 74, 0.011), "topk-int8": (0.964, 130, 0.014),
    "dgc": (0.94, 400, 0.02), "randomkec": (0.8, 99, 0.006), "powersgd": (0.968, 90, 0.008),
    "int8": (0.97, 4, 0.0032), "int4-block": (0.968, 7.5, 0.0035), "1bit": (0.955, 30, 0.005),
    "fp16": (0.97, 2, 0.0045),
}  # fmt: skip


def comparison(seeds: int = 3, **config: object) -> list[Json]:
    """Return thirteen methods that differ a little from seed to seed."""
    return [
        make(name, accuracy + 0.001 * seed, ratio, seed, exposed_s, **config)
        for name, (accuracy, ratio, exposed_s) in ALL.items()
        for seed in range(seeds)
    ]
