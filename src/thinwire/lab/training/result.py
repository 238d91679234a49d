"""The result of a run, in schema ``thinwire.train/1``."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

import thinwire
from thinwire.ddp import Worth
from thinwire.lab.environment import environment
from thinwire.lab.training.averaging import Remembering
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.evaluate import METRICS
from thinwire.lab.training.records import Records

SCHEMA = "thinwire.train/1"


def result(
    config: TrainConfig, model: nn.Module, kind: str, records: Records, averaging: Remembering
) -> dict[str, Any]:
    """Return a run's result, JSON-able: all that is known so far."""
    metric, higher = METRICS[kind]
    parameters = [x for x in model.parameters() if x.requires_grad]
    return {
        "schema": SCHEMA,
        "source": f"thinwire {thinwire.__version__}",
        "config": config.described(),
        "metric": {"name": metric, "higher_is_better": higher},
        "environment": environment() | {"threads": str(torch.get_num_threads())},
        "model": {
            "parameters": sum(x.numel() for x in parameters),
            "dense_bytes": sum(x.numel() * x.element_size() for x in parameters),
        },
        "exchanges": averaging.exchanges(),
        "link": asdict(averaging.link) if averaging.link else None,
        "worth": _described(averaging.worth()),
        **records.saved(),
        "totals": records.totals(),
        "final": {key: records.epochs[-1][key] for key in (metric, "loss")} if records.epochs else {},
    }


def _described(worth: Worth | None) -> dict[str, Any] | None:
    """Return what compression buys. A break-even bandwidth of null: it pays on any link."""
    if worth is None:
        return None
    limit_bps = worth.break_even_bps
    return asdict(worth) | {"break_even_bps": limit_bps if math.isfinite(limit_bps) else None}
