"""torch's own communication hooks, with a clock around them."""

# No postponed annotations here: torch compares the hook's with the classes themselves.

import time
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from thinwire.codec import State
from thinwire.lab.training.compared import TORCH_FP16
from thinwire.lab.training.dense import Cost, Dense, ring_bytes

POWERSGD_RANK = 2
POWERSGD_START = 10
"""Steps that torch's PowerSGD sends dense at first: at least 2, since buckets are rebuilt after the first."""
Hook = Callable[[Any, dist.GradBucket], Future[Tensor]]  # type: ignore[name-defined]


class Stock(Dense):
    """A hook of torch, with a clock around it."""

    def __init__(self, model: DistributedDataParallel, name: str) -> None:
        super().__init__(model)
        self._in_hook_s, self._counted = 0.0, 0
        self._power: powerSGD_hook.PowerSGDState | None = None
        if name == TORCH_FP16:
            model.register_comm_hook(None, self._timed(default_hooks.fp16_compress_hook))
            return
        # An all-zero gradient gives NaN with torch's own epsilon of 0.
        self._power = powerSGD_hook.PowerSGDState(None, POWERSGD_RANK, POWERSGD_START, orthogonalization_epsilon=1e-8)
        model.register_comm_hook(self._power, self._timed(powerSGD_hook.powerSGD_hook))

    def cost(self) -> Cost:
        """Count rings; what is exposed is all the time in the hook, and from its last call to the end of backward."""
        inside, self._in_hook_s = self._in_hook_s, 0.0
        return Cost(self._sent_bytes(), self._bytes, inside, inside + time.perf_counter() - self._ready)

    def load(self, states: list[State]) -> None:
        """Raise ValueError for PowerSGD: its state goes by bucket, and buckets are others after a restart."""
        if self._power is not None:
            raise ValueError("torch-powersgd keeps its state by bucket, which no checkpoint can restore: start again")

    def _all_there(self, _gradients: object) -> None:
        pass

    def _sent_bytes(self) -> int:
        if self._power is None:
            return self._bytes // 2
        before, self._counted = self._counted, int(self._power.total_numel_after_compression)
        return ring_bytes(4 * (self._counted - before), dist.get_world_size()) or self._bytes

    def _timed(self, hook: Hook) -> Hook:
        def timed(state: Any, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
            started = time.perf_counter()
            future = hook(state, bucket)
            self._ready = time.perf_counter()
            self._in_hook_s += self._ready - started
            return future

        return timed
