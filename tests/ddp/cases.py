"""What ranks do in the tests: a few steps, and what came of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from trainings import CAP_MB, METHODS, Net, Sums, Training, data, names, raised

from thinwire import Codec, Spec, Threshold
from thinwire.codec import State
from thinwire.ddp import compress_gradients


def digests(group: Any, name: str, steps: int, use_pipeline: bool) -> list[str]:
    training = Training(group, *METHODS[name], use_pipeline=use_pipeline)
    found = []
    for step in range(steps):
        training.step(step)
        found.append(training.digest())
    return found


def against_plain(group: Any, use_pipeline: bool) -> float:
    """Return how far parameters are from those of plain DDP."""
    plain, ours = Training(group, None), Training(group, "none", use_pipeline=use_pipeline)
    for step in range(5):
        plain.step(step)
        ours.step(step)
    pairs = zip(plain.net.parameters(), ours.net.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def ledger(group: Any, method: Any, density: float | None) -> tuple[dict[str, Tensor], dict[str, Tensor], State, int]:
    """Return the sums of the rank's own gradients and of the averages it was given, and its state after 5 steps."""
    training, own, means = Training(group, method, density, lr=0.0), Sums(), Sums()
    buckets = training.model.reducer._get_zeros_like_grad_buckets()
    for step in range(5):
        training.optimizer.zero_grad()
        x, y = data(step, training.rank)
        alone = [p for p in training.net.parameters() if p.requires_grad]
        loss = (training.net(x) - y).square().mean()
        own.add(dict(zip(names(training.net), torch.autograd.grad(loss, alone), strict=True)))
        training.loss(step).backward()
        means.add(training.gradients())
    rebuilt = training.model.reducer._get_zeros_like_grad_buckets()
    return own.total, means.total, training.compression.state_dict(), len(rebuilt) - len(buckets)


def own_settings(group: Any, per_rank: list[dict[str, Any]]) -> None:
    Training(group, **per_rank[dist.get_rank(group)]).step(0)


def empty_selections(group: Any) -> tuple[str, int]:
    """Rank 0 selects nothing of anything: all its gradients are zero."""
    training = Training(group, Threshold(1e-12), seed=3)
    for step in range(3):
        training.optimizer.zero_grad()
        (training.loss(step) * (training.rank != 0)).backward()
        training.optimizer.step()
    return training.digest(), training.compression.last.sent_bytes


def unused_parameters(group: Any) -> tuple[str, list[bool], str]:
    """The side layer has a gradient on no rank, then on one, then on all."""
    training = Training(group, "topk", 0.02, unused=True)
    training.step(0)
    before = training.compression.state_dict()["residual/side.weight"]
    training.step(1, side=False)
    kept = torch.equal(before, training.compression.state_dict()["residual/side.weight"])
    absent = training.net.side.weight.grad is None
    training.step(2, side=training.rank == 0)
    moved = not torch.equal(before, training.compression.state_dict()["residual/side.weight"])
    training.step(3)
    frozen = [key for key in training.compression.state_dict() if "frozen" in key]
    return training.digest(), [kept, absent, moved], ",".join(frozen)


class Strided(nn.Module):
    """Gradients whose memory is in another order than their dimensions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last = nn.Conv2d(5, 30, 3), nn.Linear(30, 10)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        images = x[:, :20].reshape(-1, 5, 2, 2).repeat(1, 1, 2, 2).to(memory_format=torch.channels_last)
        return self.last(self.conv(images).amax((2, 3)))


def against_plain_with(group: Any, settings: dict[str, bool], use_pipeline: bool) -> float:
    """Return how far parameters are from those of plain DDP, which has the same settings."""
    trained = []
    for method in (None, "none"):
        torch.manual_seed(0)
        net = Strided()
        model = DistributedDataParallel(net, process_group=group, bucket_cap_mb=CAP_MB, **settings)
        if method:
            compress_gradients(model, method, use_pipeline=use_pipeline)
        optimizer = torch.optim.SGD(net.parameters(), 0.05)
        for step in range(3):
            optimizer.zero_grad()
            x, y = data(step, dist.get_rank(group))
            (model(x) - y).square().mean().backward()
            optimizer.step()
        trained.append(net)
    pairs = zip(*(net.parameters() for net in trained), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def silent(group: Any, quiet: int, seconds: float) -> float:
    """Return how long the first step takes that one rank does not come to; it sleeps."""
    training = Training(group, "topk", 0.05)
    training.step(0)
    if training.rank == quiet:
        time.sleep(seconds)
        return 0.0
    started = time.perf_counter()
    error = raised(lambda: training.step(1))
    assert isinstance(error, RuntimeError)
    return time.perf_counter() - started


def accumulated(group: Any) -> tuple[float, int]:
    """Return how far two accumulated backwards are from one of their sum, and the steps counted."""
    training, plain = Training(group, "none"), Training(group, None)
    for each in (training, plain):
        with each.model.no_sync():
            each.loss(0).backward()
        each.loss(1).backward()
    pairs = zip(training.gradients().values(), plain.gradients().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs), training.compression.step


def two_dtypes(group: Any, method: Any) -> tuple[str, dict[str, str]]:
    net = Net()
    net.side.bfloat16()
    net.side.register_forward_pre_hook(lambda _, args: (args[0].bfloat16(),))
    training = Training(group, method, net=net)
    for step in range(3):
        training.step(step)
    digest = hashlib.blake2b(b"".join(p.detach().float().numpy().tobytes() for p in net.parameters()))
    kept = {key: str(x.dtype) for key, x in training.compression.state_dict().items() if key.startswith("residual/")}
    return digest.hexdigest(), kept


def counted(group: Any, name: str) -> tuple[int, int, int]:
    """Return the bytes that torch was given to send in a step, and those reported as sent and received."""
    training = Training(group, *METHODS[name])
    training.step(0)
    groups = []
    for link in training.compression._lanes.links:
        link.peers.group = Counting(link.peers.group)
        groups.append(link.peers.group)
    training.step(1)
    last = training.compression.last
    return sum(g.sent for g in groups), last.sent_bytes, last.received_bytes


class Counting:
    """A process group that counts what it is given to send."""

    def __init__(self, group: Any) -> None:
        self.group, self.recv, self.sent = group, group.recv, 0

    def send(self, tensors: list[Tensor], rank: int, tag: int) -> Any:
        self.sent += sum(x.nbytes for x in tensors)
        return self.group.send(tensors, rank, tag)


@dataclass(frozen=True)
class Breaks(Codec):
    """Fails as no codec should, on rank 1."""

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        if dist.get_rank() == 1:
            raise ZeroDivisionError("a bug in a codec")
        return {"data": x}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        return {"data": spec}

    def from_parts(self, parts: dict[str, Tensor], spec: Spec, seed: int) -> Tensor:
        return parts["data"].clone()


Breaks.id, Breaks.linear = "breaks", True


def a_bug_on_rank_1(group: Any, use_pipeline: bool) -> None:
    Training(group, Breaks(), use_pipeline=use_pipeline).step(0)


def reports(group: Any, use_pipeline: bool) -> tuple[Any, str]:
    training = Training(group, "topk", 0.05, use_pipeline=use_pipeline)
    for step in range(3):
        training.step(step)
    return training.compression.steps, training.compression.report()
