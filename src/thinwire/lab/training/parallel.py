"""DistributedDataParallel as training here uses it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

_NAMES = inspect.signature(DistributedDataParallel.__init__).parameters
_SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers"
"""By the version of torch: the older name is deprecated in the newer one."""
_SMALL_BUCKET_MB = 4.0
"""What backward makes last is never hidden behind it: of torch's usual 25 MB it may be a third of a small model."""


def parallel(model: nn.Module, device: torch.device, small_buckets: bool = False) -> DistributedDataParallel:
    """Return the model, which is on ``device``, between the ranks of the default process group.

    ``small_buckets`` suit what is averaged beside backward; else they are torch's usual ones. Statistics of batch norm
    stay each rank's own until somebody looks: to send them is no part of a step.
    """
    settings: dict[str, Any] = {_SYNC_BUFFERS: False}
    if small_buckets:
        settings["bucket_cap_mb"] = _SMALL_BUCKET_MB
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None, **settings)
