"""What ranks do in the tests of how parameters lie in memory, and of complex ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from replicas import CAP_MB, METHODS, digest, each
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from thinwire.ddp import compress_gradients

Move = Callable[[Tensor], Tensor]
STEPS = 3


def given(step: int, rank: int) -> dict[str, Tensor]:
    """Return gradients, contiguous; their shapes are for every exchange and for several buckets."""
    generator = torch.Generator().manual_seed(100 * step + rank)
    shapes = {"matrix": (60, 50), "kernel": (24, 6, 3, 3), "cube": (11, 12, 13), "thin": (700, 2), "row": (1, 1500),
              "vector": (1031,), "image": (1, 8, 16, 16), "number": (), "none": (0, 4)}  # fmt: skip
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def transposed(x: Tensor) -> Tensor:
    return x.transpose(0, -1).contiguous().transpose(0, -1) if x.dim() > 1 else x


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def permuted(x: Tensor) -> Tensor:
    return x.movedim(0, 1).contiguous().movedim(1, 0) if x.dim() > 1 else x


def sparse(x: Tensor) -> Tensor:
    """Return it in every other element of its memory: such gradients are contiguous."""
    return torch.stack([x, x], -1)[..., 0] if x.dim() else x


def mixed(x: Tensor) -> Tensor:
    """Put each of the shapes of ``given`` in another order, so that one run is of all."""
    if x.dim() == 4:
        return channels_last(x)
    return (sparse, permuted, transposed)[x.shape[0] % 3 if x.dim() else 0](x)


def plain(x: Tensor) -> Tensor:
    return x


def split(x: Tensor) -> Tensor:
    """Return complex numbers, half as many, as the real ones that they are of."""
    return torch.view_as_real(x) if x.dim() > 1 else torch.view_as_real(x).reshape(-1)


class Given(nn.Module):
    """Parameters whose gradients are those that it is called with, and which lie in memory as ``move`` puts them."""

    def __init__(self, move: Move) -> None:
        super().__init__()
        self.p = nn.ParameterDict({name: nn.Parameter(move(torch.zeros_like(x))) for name, x in given(0, 0).items()})

    def forward(self, gradients: Mapping[str, Tensor]) -> Tensor:
        return sum(((self.p[name] * x).sum().double() for name, x in gradients.items()), torch.zeros(()))

    def move_(self, move: Move) -> None:
        for parameter in self.p.values():
            parameter.data = move(parameter.data)


def run(group: Any, net: Given, method: Any, late: Move | None = None, **settings: Any) -> list[str]:
    """Return the hashes of means and of what is remembered, step by step; ``late``: parameters move after the wrap."""
    ours = {name: settings.pop(name) for name in ("use_pipeline", "load") if name in settings}
    model, rank = DistributedDataParallel(net, process_group=group, bucket_cap_mb=CAP_MB, **settings), None
    rank = dist.get_rank(group)
    if late:
        net.move_(late)
    compression = compress_gradients(model, method, use_pipeline=ours.get("use_pipeline", True))
    if "load" in ours:
        compression.load_state_dict(ours["load"])
    found = []
    for step in range(STEPS):
        model.zero_grad()
        model(given(step, rank)).backward()
        state = compression.state_dict()
        kept = [x for key, x in sorted(state.items()) if key.startswith(("residual", "velocity", "history"))]
        found += [digest(x.grad for x in net.p.values()), digest(x for x in kept if x.numel())]
    return found


def alike(group: Any, names: list[str], moves: list[Move], settings: dict[str, Any]) -> dict[str, list[bool]]:
    """Return, for each method, whether all is the same in each layout as where memory is in order."""

    def compared(method: Any) -> list[bool]:
        wanted = run(group, Given(plain), method)
        return [run(group, Given(move), method, **settings) == wanted for move in moves]

    return each(names, compared)


def moved_late(group: Any, before: Move, after: Move, settings: dict[str, Any]) -> bool:
    """Return whether all is as it should be where parameters move between the wrap and the first step."""
    wanted = run(group, Given(plain), "powersgd")
    return run(group, Given(before), "powersgd", late=after, **settings) == wanted


def loaded(group: Any, saved: Move, now: Move) -> bool:
    """Return whether what was kept in one layout goes on in another, whatever the layout of what is loaded."""

    def state(move: Move) -> dict[str, Tensor]:
        net = Given(move)
        model = DistributedDataParallel(net, process_group=group, bucket_cap_mb=CAP_MB)
        compression = compress_gradients(model, "powersgd")
        model(given(7, dist.get_rank(group))).backward()
        return compression.state_dict()

    kept = {key: x if key.count("/") == 0 else now(x) for key, x in state(saved).items()}
    return run(group, Given(now), "powersgd", load=kept) == run(group, Given(plain), "powersgd", load=state(plain))


class Complex(nn.Module):
    """Complex parameters, or the real ones that they are of."""

    def __init__(self, kind: str, dtype: torch.dtype) -> None:
        super().__init__()
        move = transposed if kind == "transposed" else plain
        numbers = {name: move(torch.zeros(x.shape, dtype=dtype)) for name, x in given(0, 0).items()}
        if kind == "real":
            numbers = {name: split(x) for name, x in numbers.items()}
        self.p = nn.ParameterDict({name: nn.Parameter(x) for name, x in numbers.items()})
        self.weight = nn.Parameter(torch.zeros(40, 30))

    def forward(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """The gradient of a complex parameter is what it is called with."""
        total = self.weight.sum().double()
        for name, x in gradients.items():
            p = self.p[name]
            product = torch.view_as_real(p) * torch.view_as_real(x) if p.is_complex() else p * split(x)
            total = total + product.sum()
        return total


def complex_alike(group: Any, names: list[str], kind: str, dtype: torch.dtype, settings: dict[str, Any]) -> Any:
    """Return, for each method, whether complex parameters are averaged as the real ones that they are of."""
    rank = dist.get_rank(group)

    def run(method: Any, kind: str) -> list[str]:
        net, found = Complex(kind, dtype), []
        model = DistributedDataParallel(net, process_group=group, bucket_cap_mb=CAP_MB, **settings)
        compression = compress_gradients(model, method)
        for step in range(STEPS):
            model.zero_grad()
            pairs = zip(given(step, rank).items(), given(step + 50, rank).values(), strict=True)
            gradients = {name: torch.complex(x, y).to(dtype) for (name, x), y in pairs}
            model(gradients).backward()
            means = [x.grad for x in net.p.values()]
            found.append(digest(split(x) if x.is_complex() else x for x in means))
            found += sorted(compression.state_dict())
            found.append(digest(x for _, x in sorted(compression.state_dict().items()) if x.numel()))
        return found

    return each(names, lambda method: run(method, kind) == run(method, "real"))


def methods() -> list[str]:
    return [name for name in METHODS if name != "auto-down"]
