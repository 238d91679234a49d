"""Every method on real ranks: parameters after each step, and what of the gradients is where."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from trainings import Mixed, Sums

from thinwire.ddp import GradientCompression, compress_gradients
from thinwire.feedback import ErrorFeedback
from thinwire.zoo import compressor, zoo

METHODS: dict[str, Any] = {
    **{name: name for name in zoo}, "mixed": Mixed(), "topk-dense": "TopK(0.5)", "step": "Step(nmse=0.05)",
}  # fmt: skip
CAP_MB = 0.004
"""Small enough for several buckets."""


class Odd(nn.Module):
    """A convolution, a matrix of odd sizes, rows that are seldom used, biases, one element and none."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.words, self.conv = nn.Embedding(211, 7), nn.Conv2d(5, 24, 3, padding=1)
        self.middle, self.last = nn.Linear(24 + 7, 37), nn.Linear(37, 3)
        self.one, self.scale = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(()))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        seen = torch.relu(self.conv(images)).mean((2, 3)) + self.one
        return self.last(torch.tanh(self.middle(torch.cat([seen, self.words(words)], 1)))) * self.scale


def batch(step: int, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * step + rank)
    words = torch.randint(0, 211, (6,), generator=generator)
    return torch.randn(6, 5, 4, 4, generator=generator), words, torch.randn(6, 3, generator=generator)


class Replica:
    """A model under DDP with compressed gradients."""

    def __init__(self, group: Any, net: nn.Module, method: Any, unused: bool = False, **settings: Any) -> None:
        self.net, self.rank = net, dist.get_rank(group)
        self.model = DistributedDataParallel(
            net, process_group=group, bucket_cap_mb=CAP_MB, find_unused_parameters=unused
        )
        self.compression: GradientCompression = compress_gradients(self.model, method, **settings)
        self.optimizer = torch.optim.SGD(net.parameters(), 0.02)

    def step(self, number: int) -> str:
        """Return the hash of all parameters after a step."""
        self.optimizer.zero_grad()
        images, words, wanted = batch(number, self.rank)
        loss = (self.model(images, words) - wanted).square().mean()
        self.compression.note(loss=loss.item())
        loss.backward()
        self.optimizer.step()
        return digest(self.net.parameters())


def digest(tensors: Any) -> str:
    raw = b"".join(x.detach().reshape(-1).view(torch.uint8).numpy().tobytes() for x in tensors)
    return hashlib.blake2b(raw, digest_size=8).hexdigest()


def each(names: list[str], call: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what ``call`` does of each method, by name or description, None for one that gradients cannot take."""
    found: dict[str, Any] = {}
    gc.freeze()  # what was imported is not looked through for every method
    for name in names:
        try:
            found[name] = call(METHODS.get(name, name))
        except ValueError as error:
            found[name] = None if "data-parallel" in str(error) else repr(error)
        gc.collect()  # the links and threads of the last one
    return found


def trained(group: Any, names: list[str], steps: int, pipelines: tuple[bool, ...]) -> dict[str, list[str] | None]:
    """Return the hashes of the parameters after every step; pipelines must not change them."""

    def run(method: Any) -> list[str]:
        runs = []
        for use_pipeline in pipelines:
            replica = Replica(group, Odd(), method, use_pipeline=use_pipeline)
            runs.append([replica.step(number) for number in range(steps)])
        return runs[0] if all(run == runs[0] for run in runs) else ["a pipeline changes bits"]

    return each(names, run)


def with_feedback() -> list[str]:
    return [name for name, method in METHODS.items() if compressor(method).feedback == ErrorFeedback()]


def lost(group: Any, names: list[str], steps: int) -> dict[str, float | None]:
    """Return, for each method, what is in no rank's mean and no residual: the largest part of the largest gradient."""

    def run(method: Any) -> float:
        replica = Replica(group, Odd(), method, seed=3)
        given, means = Sums(), Sums()
        for number in range(steps):
            images, words, wanted = batch(number, replica.rank)
            loss = (replica.net(images, words) - wanted).square().mean()
            own = torch.autograd.grad(loss, list(replica.net.parameters()))
            given.add(dict(zip(dict(replica.net.named_parameters()), own, strict=True)))
            replica.step(number)
            means.add({name: x.grad for name, x in replica.net.named_parameters()})
        return unaccounted(group, replica, given.total, means.total)

    return each(names, run)


def unaccounted(group: Any, replica: Replica, given: Mapping[str, Tensor], means: Mapping[str, Tensor]) -> float:
    state, worst = replica.compression.state_dict(), 0.0
    for name, mean in means.items():
        residual = mean_of(group, state.get(f"residual/{name}", torch.zeros_like(mean)))
        truth, largest = mean_of(group, given[name]), largest_of(group, given[name])
        worst = max(worst, float((mean.double() + residual - truth).abs().max()) / largest if largest else 0.0)
    return worst


def mean_of(group: Any, x: Tensor) -> Tensor:
    total = x.detach().double().clone() / dist.get_world_size(group)
    dist.all_reduce(total, group=group)
    return total


def largest_of(group: Any, x: Tensor) -> float:
    most = x.detach().double().abs().amax().reshape(1)
    dist.all_reduce(most, dist.ReduceOp.MAX, group=group)
    return float(most)


class Given(nn.Module):
    """Parameters whose gradients are those that it is called with."""

    def __init__(self, like: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.p = nn.ParameterDict({name: nn.Parameter(torch.zeros_like(x)) for name, x in like.items()})

    def forward(self, gradients: Mapping[str, Tensor]) -> Tensor:
        return sum(((self.p[name] * x).sum().double() for name, x in gradients.items()), torch.zeros(()))


def awkward(rank: int, world: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the gradients of a rank: degenerate ones, of every kind."""
    most, generator = torch.finfo(torch.float32).max, torch.Generator().manual_seed(rank)
    noise, rows = torch.randn(40, 37, generator=generator), torch.zeros(211, 7)
    rows[3 * rank : 3 * rank + 2] = noise[:2, :7]
    yield "zeros", torch.zeros(40, 37)
    yield "zeros_on_one", noise * (rank != 0)
    yield "only_on_one", noise * (rank == 1)
    yield "constant", torch.full((40, 37), 0.3)
    yield "negative_zero", torch.full((40, 37), -0.0)
    yield "ties", noise.sign()
    yield "denormal", noise * 1e-39
    yield "denormal_on_one", noise * (1e-39 if rank == 0 else 1.0)
    yield "far_apart", noise * 10.0 ** (6 * rank)
    yield "huge", torch.full((40, 37), most) * noise.sign()
    yield "huge_alike", torch.full((40, 37), most)
    yield "huge_on_one", noise / noise.abs().max() * (most if rank == 0 else 1.0)
    yield "outlier", noise.index_put((torch.tensor([1]), torch.tensor([2])), torch.tensor(1e30))
    yield "rows", rows
    yield "kernel", torch.randn(24, 5, 3, 3, generator=generator)
    yield "prime", torch.randn(1031, generator=generator)
    yield "fp16", noise.half()
    yield "fp16_huge", torch.full((40, 37), 65504.0).half()
    yield "bf16", noise.bfloat16()
    yield "bf16_small", noise[0].bfloat16()
    yield "fp64", noise.double()
    yield "one", noise[0, :1]
    yield "none", noise[0, 0]


def degenerate(group: Any, names: list[str]) -> dict[str, Any]:
    """Return, for each method: the hash of the means of two steps, and the names of those that are wrong."""
    given = dict(awkward(dist.get_rank(group), dist.get_world_size(group)))

    def run(method: Any) -> tuple[list[str], list[str]]:
        replica, hashes, wrong = Replica(group, Given(given), method, seed=1), [], []
        for step in range(2):
            replica.optimizer.zero_grad()
            # What was not sent of the largest numbers leaves no room for as many again.
            replica.model({name: x * 0 if step and "huge" in name else x for name, x in given.items()}).backward()
            means = {name: x.grad for name, x in replica.net.p.items()}
            hashes.append(digest(means.values()))
            wrong += [name for name, mean in means.items() if not mean.isfinite().all()]
        wrong += [name for name in ("zeros", "negative_zero") if means[name].any()]
        kept = replica.compression.state_dict()
        return hashes, wrong + [name for name, x in kept.items() if x.is_floating_point() and not x.isfinite().all()]

    return each(names, run)


def spoilt(group: Any, names: list[str]) -> dict[str, Any]:
    """Return, for each method: the error of a step in which rank 1 has NaN or infinity, and the hash after another."""

    def run(method: Any) -> tuple[str, str, bool, str]:
        net, odd = Odd(), crc32(str(method).encode())
        bad = float("inf" if odd & 1 else "nan")
        replica = Replica(group, net, method, use_pipeline=bool(odd & 2))
        replica.step(0)
        before, parameters = replica.compression.state_dict(), digest(net.parameters())
        hook = net.middle.weight.register_hook(lambda grad: grad.index_fill(0, torch.tensor([3]), bad))
        hook.remove() if replica.rank != 1 else None
        try:
            replica.step(1)
            kind, text = "nothing", ""
        except Exception as error:
            kind, text = type(error).__name__, str(error)
        hook.remove()
        after = replica.compression.state_dict()
        same = {k: x.tolist() for k, x in before.items() if k != "step"} == {
            k: x.tolist() for k, x in after.items() if k != "step"
        }
        return kind, text, same and digest(net.parameters()) == parameters, replica.step(2)

    return each(names, run)


def missing(group: Any, names: list[str]) -> dict[str, Any]:
    """Return, for each method: hashes of four steps: a parameter has a gradient on all, one, no and all ranks."""
    given = {
        name: x
        for name, x in awkward(dist.get_rank(group), dist.get_world_size(group))
        if name in ("ties", "far_apart", "kernel", "one", "fp16")
    }

    def run(method: Any) -> tuple[list[str], bool, bool]:
        replica, hashes, kept = Replica(group, Given(given), method, unused=True), [], []
        for absent in ("", "some", "all", ""):
            here = absent == "all" or (absent == "some" and replica.rank != 2)
            replica.optimizer.zero_grad()
            replica.model({name: x for name, x in given.items() if not here or name != "kernel"}).backward()
            hashes.append(digest(x.grad for x in replica.net.p.values() if x.grad is not None))
            if absent == "all":
                nothing = replica.net.p["kernel"].grad is None
            kept.append(replica.compression.state_dict().get("residual/p.kernel", torch.zeros(())))
        return hashes, nothing, torch.equal(kept[1], kept[2])

    return each(names, run)
