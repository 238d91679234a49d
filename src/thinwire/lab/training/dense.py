"""Gradients averaged as DistributedDataParallel does without a hook, and what that costs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from thinwire.codec import State
from thinwire.exchange.selected import NOTHING, Selected


@dataclass(frozen=True)
class Cost:
    """What averaging cost one rank at one step: bytes that it sent, and seconds of wall-clock time.

    ``dense_bytes`` is what it sends in a ring all-reduce of the same gradients; ``exposed_s`` is what backward waited;
    ``selected`` is what sparse codecs took of its own.
    """

    sent_bytes: int
    dense_bytes: int
    encode_s: float
    exposed_s: float
    selected: Selected = NOTHING


class Dense:
    """DistributedDataParallel as it is, without a hook."""

    def __init__(self, model: DistributedDataParallel) -> None:
        parameters = [x for x in model.parameters() if x.requires_grad]
        self._bytes = ring_bytes(sum(x.numel() * x.element_size() for x in parameters), dist.get_world_size())
        self._ready = time.perf_counter()
        torch.autograd.graph.register_multi_grad_hook(parameters, self._all_there, mode="all")

    def cost(self) -> Cost:
        """Count a ring; what is exposed is from the last gradient to the end of backward."""
        return Cost(self._bytes, self._bytes, 0.0, time.perf_counter() - self._ready)

    def state_dicts(self) -> list[State]:
        """Return nothing: a mean remembers nothing."""
        return [{}]

    def load(self, states: list[State]) -> None:
        """Take nothing."""

    def note(self, rank: int, loss: float) -> None:
        """Look at nothing."""

    def exchanges(self) -> dict[str, str]:
        """Return nothing: there is no choice."""
        return {}

    @property
    def link(self) -> None:
        """Not measured: torch sends."""

    def worth(self) -> None:
        """Return nothing: there is no compression of ours."""

    def _all_there(self, _gradients: object) -> None:
        self._ready = time.perf_counter()


def ring_bytes(tensor_bytes: int, world: int) -> int:
    """Return what each of ``world`` ranks sends of a tensor in a ring all-reduce."""
    return round(2 * (world - 1) / world * tensor_bytes)
