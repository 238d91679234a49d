"""The result of a run, in schema ``thinwire.train/1``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

import thinwire
from thinwire.lab.environment import environment
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.evaluate import METRICS
from thinwire.lab.training.records import Records

SCHEMA = "thinwire.train/1"


def result(
    config: TrainConfig, model: nn.Module, kind: str, records: Records, exchanges: Mapping[str, str]
) -> dict[str, Any]:
    """Return a run's result, JSON-able: all that is known so far.

    ``exchanges``: how each parameter was averaged.
    """
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
        "exchanges": dict(exchanges),
        **records.saved(),
        "totals": records.totals(),
        "final": {key: records.epochs[-1][key] for key in (metric, "loss")} if records.epochs else {},
    }
