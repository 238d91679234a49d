"""A small model under DDP, and steps of it: what the tests of ranks have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from thinwire import Cast, Codec, LowRank, Raw, Signals, Spec, TopK, Uniform
from thinwire.ddp import GradientCompression, compress_gradients

CAP_MB = 0.012
"""Small enough for several buckets."""


@dataclass(frozen=True)
class Mixed:
    """A policy of as many codecs as there are exchanges."""

    def plan(self, specs: dict[str, Spec], signals: Signals) -> dict[str, Codec]:
        codecs = (Raw(), TopK(0.02, values=Uniform(bits=8)), LowRank(rank=2), Uniform(bits=4, block=64), Cast())
        return {name: codecs[crc32(name.encode()) % len(codecs)] for name in specs}


METHODS: dict[str, tuple[Any, float | None]] = {
    "mixed": (Mixed(), None),
    "none": ("none", None),
    "lossless": ("lossless", None),
    "fp16": ("fp16", None),
    "int8": ("int8", None),
    "int4-block": ("int4-block", None),
    "powersgd": ("powersgd", None),
    "topk": ("topk", 0.05),
    "topk-dense": ("topk", 0.5),
    "hggtopk": ("hggtopk", 0.05),
    "randomk": ("randomk", 0.1),
    "randomkec": ("randomkec", 0.1),
    "dgc": ("dgc", 0.02),
    "stc": ("stc", 0.05),
    "1bit": ("1bit", None),
    "qsgd": ("qsgd", None),
    "ef-eden": ("ef-eden", None),
    "step": ("Step(nmse=0.05)", None),
}


class Net(nn.Module):
    """Odd sizes, norms, biases, a frozen layer and one that may go unused."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.norm, self.second = nn.Linear(37, 61), nn.LayerNorm(61), nn.Linear(61, 53)
        self.frozen, self.side, self.last = nn.Linear(53, 53), nn.Linear(53, 53), nn.Linear(53, 10)
        self.frozen.requires_grad_(False)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)

    def forward(self, x: Tensor, side: bool = True) -> Tensor:
        x = self.norm(torch.tanh(self.first(x)))
        x = torch.tanh(self.frozen(torch.tanh(self.second(x))))
        return self.last(x + self.side(x) if side else x)


def data(step: int, rank: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * step + rank)
    return torch.randn(16, 37, generator=generator), torch.randn(16, 10, generator=generator)


class Training:
    """A model under DDP whose gradients are compressed, and steps of it on data of the rank's own."""

    def __init__(
        self, group: Any, method: Any, density: float | None = None, lr: float = 0.05, **settings: Any
    ) -> None:
        unused = settings.pop("unused", False)
        net = settings.pop("net", None) or Net()
        self.group, self.rank = group, dist.get_rank(group)
        self.net = net
        self.model = DistributedDataParallel(
            net, process_group=group, bucket_cap_mb=CAP_MB, find_unused_parameters=unused
        )
        self.compression: GradientCompression | None = None
        if method is not None:
            self.compression = compress_gradients(self.model, method, density, **settings)
        self.optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr)

    def loss(self, step: int, **given: Any) -> Tensor:
        x, y = data(step, self.rank)
        return (self.model(x, **given) - y).square().mean()

    def step(self, step: int, **given: Any) -> None:
        self.optimizer.zero_grad()
        self.loss(step, **given).backward()
        self.optimizer.step()

    def digest(self) -> str:
        raw = b"".join(p.detach().numpy().tobytes() for p in self.net.parameters())
        return hashlib.blake2b(raw, digest_size=8).hexdigest()

    def gradients(self) -> dict[str, Tensor]:
        return {n: p.grad.clone() for n, p in self.net.named_parameters() if p.grad is not None}


def names(net: nn.Module) -> list[str]:
    return [name for name, p in net.named_parameters() if p.requires_grad]


class Sums:
    def __init__(self) -> None:
        self.total: dict[str, Tensor] = {}

    def add(self, tensors: dict[str, Tensor]) -> None:
        self.total = {name: self.total.get(name, 0) + x.double() for name, x in tensors.items()}


@contextmanager
def spoilt(parameter: nn.Parameter, here: bool) -> Iterator[None]:
    hook = parameter.register_hook(lambda grad: grad * float("nan") if here else grad)
    yield
    hook.remove()


def raised(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")
