"""What users do to models whose gradients are compressed, in the tests."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import time
import warnings
import weakref
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.join import Join
from torch.nn.parallel import DistributedDataParallel
from trainings import CAP_MB, Net, Training, data, raised

from thinwire.ddp import compress_gradients
from thinwire.ddp.detached import Detached


def frozen_late(group: Any, method: str, settings: dict[str, Any]) -> tuple[list[str], list[bool]]:
    """Freeze after the wrap and before compression, thaw after two steps; return hashes, and whether it moved."""
    net = Net()
    model = DistributedDataParallel(net, process_group=group, bucket_cap_mb=CAP_MB, find_unused_parameters=True)
    net.second.requires_grad_(False)
    compression = compress_gradients(model, method, **settings)
    digests, moved = [], []
    for step in range(4):
        net.second.requires_grad_(step > 1)
        before = net.second.weight.detach().clone()
        model.zero_grad()
        x, y = data(step, dist.get_rank(group))
        (model(x) - y).square().mean().backward()
        with torch.no_grad():
            for p in net.parameters():
                if p.grad is not None:
                    p -= 0.05 * p.grad
        digests.append(str([float(p.double().sum()) for p in net.parameters()]))
        moved.append(not torch.equal(before, net.second.weight))
    assert compression.step == 4
    return digests, moved


def copied(group: Any) -> tuple[list[str], bool, str, bool]:
    """Copy and pickle a model that trains; return what was said, and whether original and copy go on."""
    training = Training(dist.group.WORLD, "int8")
    training.step(0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = copy.deepcopy(training.model)
        other = pickle.loads(pickle.dumps(training.model))
        alone = copy.deepcopy(training.compression)
    same = all(
        torch.equal(a, b) and torch.equal(a, c)
        for a, b, c in zip(training.net.parameters(), model.parameters(), other.parameters(), strict=True)
    )
    again = compress_gradients(model, "int8")
    x, y = data(1, training.rank)
    (model(x) - y).square().mean().backward()
    training.step(1)
    texts = [str(w.message) for w in said if "has no hook" in str(w.message)]
    return texts, same and isinstance(alone, Detached), training.digest(), again.last.sent_bytes > 0


def dropped(group: Any) -> tuple[bool, int]:
    """Return whether a model and its compression go when nobody needs them, and how many threads stay of them."""
    gc.collect()
    before = threading.active_count()
    training = Training(group, "int8", use_pipeline=True)
    training.step(0)
    gone = [weakref.ref(training.model), weakref.ref(training.compression)]
    del training
    gc.collect()
    time.sleep(0.2)
    return all(one() is None for one in gone), threading.active_count() - before


class Sparse(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(11, 5, sparse=sparse), nn.Linear(5, 2)

    def forward(self, words: Tensor) -> Tensor:
        return self.last(self.words(words))


def refusals(group: Any) -> dict[str, tuple[str, str]]:
    """Return the error of each thing that is no ordinary model under DistributedDataParallel."""

    class FullyShardedDataParallel(nn.Module):
        pass

    def wrapped(net: nn.Module) -> DistributedDataParallel:
        return DistributedDataParallel(net, process_group=group)

    hooked = wrapped(nn.Linear(4, 4))
    compress_gradients(hooked, "int8")
    own = wrapped(nn.Linear(4, 4))
    own.register_comm_hook(None, default_hooks.allreduce_hook)
    things = {
        "unwrapped": nn.Linear(4, 4), "fsdp": FullyShardedDataParallel(), "dp": nn.DataParallel(nn.Linear(4, 4)),
        "inside": nn.Sequential(wrapped(nn.Linear(4, 4))), "compiled": torch.compile(wrapped(nn.Linear(4, 4))),
        "no model": "model", "none": None, "twice": hooked, "hook of torch": own, "sparse": wrapped(Sparse(True)),
    }  # fmt: skip
    found = {}
    for name, thing in things.items():
        error = raised(lambda thing=thing: compress_gradients(thing, "int8"))
        found[name] = type(error).__name__, str(error)
    return found


def uneven(group: Any, method: str | None, use_pipeline: bool) -> tuple[str, float]:
    """Train with as many batches as the rank's number plus two; return the parameters, and what is nowhere."""
    training = Training(group, method, use_pipeline=use_pipeline) if method else Training(group, None)
    with Join([training.model]):
        for step in range(2 + 2 * training.rank):
            training.step(step)
    return training.digest(), float(sum(p.double().sum() for p in training.net.parameters()))


def left_out(group: Any, what: str, use_pipeline: bool) -> tuple[str, str, list[str]]:
    """Return the error of the step after one of which rank 1 left something out, and what was warned of in that."""
    training = Training(group, "int8", use_pipeline=use_pipeline)
    training.step(0)
    odd = training.rank == 1
    if what == "nothing":
        with torch.no_grad():
            training.loss(7) if odd else None
        with training.model.no_sync():
            training.loss(7) if odd else None
        training.step(1)
    elif what == "update":
        before = [p.detach().clone() for p in training.net.parameters()]
        training.step(1)
        for parameter, old in zip(training.net.parameters(), before, strict=True):
            parameter.data.copy_(old) if odd else None
    elif what == "backward":
        training.loss(1) if odd else None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            training.step(2)
            kind, text = "", ""
        except Exception as error:
            kind, text = type(error).__name__, str(error)
    return kind, text, [str(w.message) for w in said if "forward passes" in str(w.message)]


def wrong_states(group: Any) -> dict[str, tuple[str, str]]:
    training = Training(group, "topk", 0.05)
    training.step(0)
    right = training.compression.state_dict()
    old = {key: x for key, x in right.items() if key != "in_order"}
    residual = "residual/first.weight"
    states: dict[str, Any] = {
        "empty": {}, "no states": [], "the model's": training.model.state_dict(), "a text": ["state"],
        "no tensor": {**right, residual: [1.0]}, "no number": {**right, "step": torch.tensor([1, 2])},
        "a float": {**right, "rank": torch.tensor(0.5)}, "negative": {**right, "step": torch.tensor(-1)},
        "no such rank": {**right, "rank": torch.tensor(7)}, "no slash": {**right, "first.weight": right[residual]},
        "another's": {**right, "residual/other": right[residual]}, "a shape": {**right, residual: torch.zeros(3)},
        "whole numbers": {**right, residual: right[residual].long()},
        "half a plan": {**right, "plan/course": torch.zeros(2)},
        "a history": {**right, "history/right": torch.zeros(2)},
    }  # fmt: skip
    found = {}
    for name, state in states.items():
        error = raised(lambda state=state: training.compression.load_state_dict(state))
        found[name] = type(error).__name__, str(error)
    training.compression.load_state_dict(old)  # of an earlier version: all is contiguous here
    training.net.first.weight.data = training.net.first.weight.data.t().contiguous().t()
    error = raised(lambda: training.compression.load_state_dict(old))
    training.compression.load_state_dict(right)
    return found | {"earlier": (type(error).__name__, str(error))}
