"""DistributedDataParallel as training here uses it."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

_NAMES = inspect.signature(DistributedDataParallel.__init__).parameters
_SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers"
"""By the version of torch: the older name is deprecated in the newer one."""
USUAL_BUCKETS_MB = 25.0
"""torch's, but for the first one, which it makes smaller: where nothing is hidden, each more is only more exchanges."""
SMALL_BUCKETS_MB = 4.0
"""What backward makes last is never hidden behind it: of torch's usual 25 MB it may be a third of a small model."""
ONE_BUCKET_MB = 2.0**20


def parallel(model: nn.Module, device: torch.device, bucket_mb: float | None = None) -> DistributedDataParallel:
    """Return the model, which is on ``device``, between the ranks of the default process group.

    Buckets are torch's usual ones if not said otherwise. Statistics of batch norm stay each rank's own until somebody
    looks: to send them is no part of a step.
    """
    # A 1x1 convolution's gradient has strides of its own in the dimensions of one element; to copy it costs nothing.
    warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
    settings: dict[str, Any] = {_SYNC_BUFFERS: False}
    if bucket_mb is not None:
        settings["bucket_cap_mb"] = bucket_mb
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None, **settings)
