"""How DistributedDataParallel cuts a model's gradients into buckets."""

# No postponed annotations here: torch compares the hook's with the classes themselves.

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel


class Buckets:
    """Notes which parameters come in which bucket, and changes nothing: for a group of one rank."""

    def __init__(self, model: DistributedDataParallel) -> None:
        self.names: list[list[str]] = []
        """Of the newest backward, in its order."""
        self._names = {id(x): name for name, x in model.module.named_parameters()}
        model.register_comm_hook(self, Buckets.hook)

    def hook(self, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
        """Note a bucket."""
        if bucket.index() == 0:
            self.names = []
        self.names.append([self._names[id(x)] for x in bucket.parameters()])
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future
