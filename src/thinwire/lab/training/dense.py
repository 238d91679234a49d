"""Gradients averaged as DistributedDataParallel does without a hook, and what that costs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from thinwire.codec import State


@dataclass(frozen=True)
class Cost:
    """What averaging cost one rank at one step: bytes that it sent, and seconds of wall-clock time.

    ``dense_bytes`` is what it sends in a ring all-reduce of the same gradients; ``exposed_s`` is what backward waited.
    """

    sent_bytes: int
    dense_bytes: int
    encode_s: float
    exposed_s: float


class Dense:
    """DistributedDataParallel as it is, without a hook."""

    def __init__(self, model: DistributedDataParallel) -> None:
        parameters = [x for x in model.parameters() if x.requires_grad]
        self._bytes = ring_bytes(sum(x.numel() * x.element_size() for x in parameters))
        self._ready = time.perf_counter()
        torch.autograd.graph.register_multi_grad_hook(parameters, self._all_there, mode="all")

    def cost(self) -> Cost:
        """Count a ring; what is exposed is from the last gradient to the end of backward."""
        return Cost(self._bytes, self._bytes, 0.0, time.perf_counter() - self._ready)

    def state_dict(self) -> State:
        """Return nothing: a mean remembers nothing."""
        return {}

    def load(self, states: list[State]) -> None:
        """Take nothing."""

    def exchanges(self) -> dict[str, str]:
        """Return nothing: there is no choice."""
        return {}

    def _all_there(self, _gradients: object) -> None:
        self._ready = time.perf_counter()


def ring_bytes(tensor_bytes: int) -> int:
    """Return what each rank sends of a tensor in a ring all-reduce."""
    world = dist.get_world_size()
    return round(2 * (world - 1) / world * tensor_bytes)
