"""How a method's knob is found: by what it would send of recorded updates, error feedback included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import torch
from equal_bytes_methods import Method
from torch import Tensor

import thinwire as tw
from thinwire.codec import derive_seed
from thinwire.delta import subtract
from thinwire.lab.config import RunConfig
from thinwire.lab.run import prepare
from thinwire.policy import Signals
from thinwire.zoo import compressor

SAMPLED_ROUNDS = 6
Update = dict[str, Tensor]


def recorded(config: RunConfig) -> list[Update]:
    """Return one client's updates in some rounds of dense federated averaging: the client of the median size."""
    task, prepared, training = config.found_task, prepare(config), config.training
    model, kept = task.model(config.seed), []
    shares = [len(part) / len(prepared.data.classes) for part in prepared.parts]
    middle = sorted(range(len(shares)), key=shares.__getitem__)[len(shares) // 2]
    for round_ in range(1, training.rounds + 1):
        before = {name: x.clone() for name, x in model.state_dict().items()}
        mean = {name: torch.zeros_like(x) for name, x in before.items()}
        for client, part in enumerate(prepared.parts):
            model.load_state_dict(before)
            own = tuple(column[torch.from_numpy(part)] for column in prepared.data.train)
            task.train(model, own, training, derive_seed(config.seed, f"train/{round_}/{client}"))
            update = subtract(model.state_dict(), before)
            mean = {name: mean[name] + shares[client] * x for name, x in update.items()}
            kept += [update] if client == middle else []
        model.load_state_dict({name: x + mean[name] for name, x in before.items()})
    every = max(1, math.ceil(len(kept) / SAMPLED_ROUNDS))
    return kept[every - 1 :: every]


def bytes_a_message(uplink: str, updates: Sequence[Update]) -> float:
    """Return what a client sends in a round, on average over recorded rounds, with all that it keeps in between."""
    chosen, sizes = compressor(uplink), []
    state: dict[str, Tensor] = {}
    for round_, update in enumerate(updates, 1):
        message, state, _ = chosen.compress(update, state, Signals(round=round_))
        sizes.append(len(tw.dumps(message)))
    return fmean(sizes)


def searched(method: Method, goal_bytes: float, updates: Sequence[Update]) -> float | None:
    """Return the knob that comes nearest to the goal from below; None where the method cannot send so little."""
    low, high = math.log(method.low), math.log(method.high)
    ends = [bytes_a_message(method.uplink(math.exp(end)), updates) for end in (low, high)]
    cheap, dear = (low, high) if ends[0] <= ends[1] else (high, low)
    if min(ends) > goal_bytes:
        return None
    for _ in range(11):
        middle = (cheap + dear) / 2
        fits = bytes_a_message(method.uplink(math.exp(middle)), updates) <= goal_bytes
        cheap, dear = (middle, dear) if fits else (cheap, middle)
    return math.exp(cheap)
