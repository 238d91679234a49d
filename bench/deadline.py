"""`Deadline` on real bandwidth traces, beside settings that are the same for all clients and rounds.

    THINWIRE_DATA=folder python bench/deadline.py --out results/deadline.json

20 clients on random traces from random moments, 100 rounds of 60 s, 3 draws of all that (others than those that the
policy's defaults were chosen on). Clients train 15 s in the median (log-normal across clients, with jitter a round).
The updates are real ones, of an MLP of 85,002 parameters on digits; frames are really encoded, and their length and the
seconds that took are what travels and what is waited for. Links are slowed until the dense update takes the median one
ten times what training leaves of the deadline: where compression is needed. A message that is not in time counts as
lost: NMSE 1. A fixed setting is chosen in hindsight, per draw: of those with 95 % of client rounds on time or more,
that of the least distortion; its coding takes no time. Budgets are rounded down to 16 steps an octave: equal messages
are then encoded once.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import thinwire as tw
from thinwire.delta import subtract
from thinwire.files import write_files
from thinwire.lab.environment import environment
from thinwire.lab.tasks import find, partition
from thinwire.lab.traces import SETS, Trace, load
from thinwire.lab.traces.rounds import TRAINING_SHARE, Fleet, fleet, median_bytes
from thinwire.policy import ByteBudget, Deadline, Policy, Signals, Turn
from thinwire.registry import register, text

SECONDS, LATENCY_S, CLIENTS, ROUNDS = 60.0, 0.05, 20, 100
SEEDS = (10, 11, 12)
DEADLINES_DENSE = 10
UPDATES = 10
ON_TIME = 0.95
PER_OCTAVE = 16
Update = dict[str, Tensor]


@register
@dataclass(frozen=True)
class SteppedBudget(ByteBudget):
    """A budget rounded down to a scale of few values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total_bytes is not None:
            step = math.floor(PER_OCTAVE * math.log2(self.total_bytes) + 1e-9)
            object.__setattr__(self, "total_bytes", int(2 ** (step / PER_OCTAVE)))


class LastSample(Deadline):
    """What was in time in the last round is what will be in this one."""

    def _prudent(self, samples: Sequence[float]) -> float:
        return samples[-1]


class Mean(Deadline):
    """The mean of all rounds."""

    def _prudent(self, samples: Sequence[float]) -> float:
        return float(np.mean(samples))


BUDGET = SteppedBudget(ratio=5, codec=tw.Step())
ADAPTIVE: dict[str, Deadline] = {
    "Deadline": Deadline(SECONDS, BUDGET),
    "last-sample": LastSample(SECONDS, BUDGET),
    "mean": Mean(SECONDS, BUDGET),
}


@dataclass(frozen=True)
class Frame:
    """A message as it travels, and what it cost."""

    frame_bytes: int
    nmse: float
    encode_s: float


class Encoder:
    """Real messages; each distinct one is made once."""

    def __init__(self, updates: Sequence[Update]) -> None:
        self.updates = updates
        self.specs = tw.specs(updates[0])
        self.dense_bytes = sum(spec.nbytes for spec in self.specs.values())
        self._made: dict[tuple[int, object], Frame] = {}

    def frame(self, at: int, key: object, policy: Policy, signals: Signals | None = None) -> Frame:
        """Return the message of an update by a policy; `key` says what the policy will do."""
        if (at, key) not in self._made:
            self._made[at, key] = self._encoded(self.updates[at], policy, signals or Signals())
        return self._made[at, key]

    def adaptive(self, at: int, policy: Deadline, signals: Signals) -> Frame:
        """Return the message of an update by a deadline."""
        way = policy.way(self.specs, signals)
        total = replace(BUDGET, total_bytes=max(1, int(way.frame_bytes)), ratio=None).total_bytes
        return self.frame(at, (way.name, total), policy, signals)

    def _encoded(self, update: Update, policy: Policy, signals: Signals) -> Frame:
        started = time.perf_counter()
        message, _, report = tw.Compressor(policy, tw.NoFeedback()).compress(update, {}, signals)
        frame = tw.dumps(message)
        return Frame(len(frame), report.nmse, time.perf_counter() - started)


def updates() -> list[Update]:
    """Return one real update of each of 10 clients, from the fourth round of federated averaging on digits."""
    task = find("digits")
    data, model = task.load(None), task.model(0)
    parts = partition(task.training.partition)(data.train[-1], UPDATES, 0)
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    found: list[Update] = []
    for round_ in range(4):
        found = []
        for client, part in enumerate(parts):
            model.load_state_dict(weights)
            own = tuple(x[torch.from_numpy(part)] for x in data.train)
            task.train(model, own, task.training, 100 * round_ + client)
            found.append(subtract({name: x.clone() for name, x in model.state_dict().items()}, weights))
        mean = {name: torch.stack([update[name] for update in found]).mean(dim=0) for name in weights}
        weights = {name: weights[name] + mean[name] for name in weights}
    return found


def adaptive(clients: Fleet, encoder: Encoder, policy: Deadline) -> list[tuple[bool, Frame]]:
    """Play all rounds of all clients by a policy that knows each client's own turns."""
    outcomes = []
    for client in range(CLIENTS):
        turns: tuple[Turn, ...] = ()
        for round_ in range(ROUNDS):
            signals = Signals(round_ + 1, ROUNDS, latency_s=LATENCY_S, turns=turns)
            frame = encoder.adaptive(_update(client, round_), policy, signals)
            turn, in_time = clients.turn(client, round_, frame.frame_bytes, frame.encode_s)
            turns = (*turns, turn)
            outcomes.append((in_time, frame))
    return outcomes


def fixed(rooms: np.ndarray, encoder: Encoder, key: object, policy: Policy) -> list[tuple[bool, Frame]]:
    """Play all rounds with one setting; `rooms` are the bytes that would just be in time, [clients, rounds]."""
    frames = [encoder.frame(at, key, policy) for at in range(UPDATES)]
    return [
        (frame.frame_bytes <= rooms[client, round_], frame)
        for client in range(CLIENTS)
        for round_ in range(ROUNDS)
        for frame in [frames[_update(client, round_)]]
    ]


def _update(client: int, round_: int) -> int:
    return (client + round_) % UPDATES


def settings(dense_bytes: int) -> Iterator[tuple[str, object, Policy]]:
    """Yield family, key and policy of every fixed setting."""
    for step in range(10 * PER_OCTAVE, math.floor(PER_OCTAVE * math.log2(dense_bytes / 5))):
        budget = replace(BUDGET, total_bytes=math.ceil(2 ** (step / PER_OCTAVE)), ratio=None)
        yield "ByteBudget", ("budget", budget.total_bytes), budget
    for nmse in np.geomspace(0.9, 1e-4, 24).round(6).tolist():
        yield "Step", ("step", nmse), tw.Fixed(tw.Step(nmse=nmse), tw.Step(nmse=0.005))
    for bits in range(1, 9):
        yield "Uniform", ("uniform", bits), tw.Fixed(tw.Uniform(bits=bits), tw.Uniform(bits=8), 1024)
    for density in np.geomspace(0.001, 0.5, 24).round(5).tolist():
        codec = tw.TopK(density, values=tw.Uniform(bits=8))
        yield "TopK", ("topk", density), tw.Fixed(codec, tw.Uniform(bits=8), 1024)


def measured(outcomes: Sequence[tuple[bool, Frame]]) -> dict[str, float]:
    """Return shares and means over client rounds."""
    in_time = np.array([ok for ok, _ in outcomes])
    nmse = np.array([frame.nmse for _, frame in outcomes])
    return {
        "on_time": float(in_time.mean()),
        "distortion": float(np.where(in_time, nmse, 1.0).mean()),
        "distortion_on_time": float(nmse[in_time].mean()) if in_time.any() else 1.0,
        "frame_bytes": float(np.mean([frame.frame_bytes for _, frame in outcomes])),
        "encode_s": float(np.median([frame.encode_s for _, frame in outcomes])),
    }


def played(links: Sequence[Trace], encoder: Encoder, seed: int) -> dict[str, dict]:
    """Return the figures of one draw: every adaptive policy, and of every fixed family the best that meets 95 %."""
    clients = fleet(links, CLIENTS, ROUNDS, SECONDS, LATENCY_S, seed)
    found: dict[str, dict] = {name: measured(adaptive(clients, encoder, p)) for name, p in ADAPTIVE.items()}
    rooms = np.array([[clients.room_bytes(at, round_) for round_ in range(ROUNDS)] for at in range(CLIENTS)])
    for family, key, policy in settings(encoder.dense_bytes):
        row = measured(fixed(rooms, encoder, key, policy)) | {"setting": text(policy)}
        known = found.get(family)
        if row["on_time"] >= ON_TIME and (known is None or row["distortion"] < known["distortion"]):
            found[family] = row
    return found


def link_sets(root: Path | None) -> dict[str, list[Trace]]:
    """Return the traces of every set, and of all of them as many of each."""
    each = {name: list(load(name, root).values()) for name in SETS}
    most = max(map(len, each.values()))
    spread = [links[at % len(links)] for links in each.values() for at in range(most)]
    return {**each, "all": spread}


def averaged(draws: Sequence[Mapping[str, dict]]) -> dict[str, dict]:
    """Return the mean of every figure over the draws; of a family that failed in one, nothing."""
    names = [name for name in draws[0] if all(name in draw for draw in draws)]
    return {
        name: {key: float(np.mean([draw[name][key] for draw in draws])) for key in draws[0][name] if key != "setting"}
        | ({"settings": [draw[name]["setting"] for draw in draws]} if "setting" in draws[0][name] else {})
        for name in names
    }


def row(name: str, links: Sequence[Trace], encoder: Encoder, say: Callable[[str], None]) -> dict:
    """Return the figures of one set of traces."""
    share = encoder.dense_bytes / DEADLINES_DENSE / median_bytes(links, SECONDS * (1 - TRAINING_SHARE))
    slowed = [link.scaled(share) for link in links]
    draws = [played(slowed, encoder, seed) for seed in SEEDS]
    policies = averaged(draws)
    ours = policies["Deadline"]["distortion"]
    fixed_names = [name for name in policies if name not in ADAPTIVE]
    for key in fixed_names:
        policies[key]["times_ours"] = policies[key]["distortion"] / ours
    best = min((policies[key]["distortion"] for key in fixed_names), default=None)
    for key, value in policies.items():
        say(f"{name:12s} {key:12s} on time {value['on_time']:.3f}  distortion {value['distortion']:.4f}")
    say(f"{name:12s} best fixed / Deadline: {best / ours if best else float('nan'):.2f}")
    return {
        "id": name, "traces": len(links), "slowed_times": 1 / share, "policies": policies,
        "gain": best / ours if best else None, "draws": draws,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder that holds traces/; else THINWIRE_DATA")
    parser.add_argument("--out", type=Path, default=Path("results/deadline.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    encoder = Encoder(updates())
    rows = [row(name, links, encoder, print) for name, links in link_sets(args.data).items()]
    result = {
        "schema": "thinwire.deadline/1",
        "settings": {
            "seconds": SECONDS, "latency_s": LATENCY_S, "clients": CLIENTS, "rounds": ROUNDS, "draws": len(SEEDS),
            "deadlines_dense": DEADLINES_DENSE, "elements": encoder.dense_bytes // 4,
            "policy": str(text(ADAPTIVE["Deadline"])),
        },
        "rows": rows,
        "environment": environment(),
    }  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_files({args.out: json.dumps(result, indent=1) + "\n"})
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
