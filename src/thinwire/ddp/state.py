"""What a rank remembers of each parameter, by the parameter's name: buckets come and go, names stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from thinwire.codec import State

_COUNTERS = ("step", "world", "rank")
_ORDER = "in_order"
"""In a state whose tensors are in the order of dimensions: earlier ones were as the parameter's memory was."""
_HISTORY = "history"
PLAN = "plan/"
"""Keys below it are the planner's."""


@dataclass
class Memory:
    """What feedback keeps and what codecs remember, of one rank: name -> State. Tensors are replaced, never changed."""

    kept: dict[str, State] = field(default_factory=dict)
    histories: dict[str, State] = field(default_factory=dict)

    def update(self, other: Memory) -> None:
        """Take over all that the other remembers."""
        self.kept.update(other.kept)
        self.histories.update(other.histories)

    def forget(self, name: str) -> None:
        """Remember nothing of a parameter."""
        self.kept.pop(name, None)
        self.histories.pop(name, None)

    def flat(self) -> State:
        """Return one State with keys such as ``residual/<name>`` and ``history/<name>/<key>``."""
        kept = {f"{key}/{name}": x for name, state in self.kept.items() for key, x in state.items()}
        return kept | {f"{_HISTORY}/{name}/{key}": x for name, h in self.histories.items() for key, x in h.items()}

    @classmethod
    def of(cls, flat: Mapping[str, Tensor]) -> Memory:
        """Invert ``flat``. Names may hold slashes, keys may not."""
        memory = cls()
        for path, x in flat.items():
            kind, _, rest = path.partition("/")
            name, _, key = rest.rpartition("/")
            if kind == _HISTORY:
                memory.histories.setdefault(name, {})[key] = x
            else:
                memory.kept.setdefault(rest, {})[kind] = x
        return memory


def saved(memory: Memory, step: int, world: int, rank: int) -> State:
    """Return all there is to save of a rank, as tensors only."""
    counters = zip(_COUNTERS, (step, world, rank), strict=True)
    return {name: torch.tensor(value) for name, value in counters} | {_ORDER: torch.tensor(1)} | memory.flat()


def in_order(state: Mapping[str, Tensor]) -> bool:
    """Return whether what was saved is in the order of dimensions, however its parameters lay in memory."""
    return _ORDER in state


def loaded(states: Sequence[Mapping[str, Tensor]], rank: int, world: int) -> tuple[Memory, int]:
    """Return what a rank remembers, and the step, from what ranks saved: one's own, or all where their number changed.

    Of N old ranks, rank r of ``world`` takes those with number ``r + i * world``: the sum of what they kept, times
    ``world / N``, so that the mean over ranks of what was not sent stays what it was; and the histories of old rank
    ``r % N``. Raises ValueError where ranks are missing, or their steps differ.
    """
    by_rank = {int(state["rank"]): state for state in states}
    steps, worlds = ({int(state[key]) for state in states} for key in ("step", "world"))
    if len(steps) != 1 or len(worlds) != 1:
        raise ValueError(f"states of steps {sorted(steps)} and of {sorted(worlds)} ranks; give those of one save")
    old = worlds.pop()
    wanted = [rank] if old == world else [*range(rank, old, world), rank % old]
    missing = sorted({*wanted} - {*by_rank})
    if missing:
        raise ValueError(
            f"rank {rank} of {world} needs the state of rank {', '.join(map(str, missing))} of {old}, and was given "
            f"those of {sorted(by_rank)}: load_state_dict([...]) takes the states of all ranks"
        )
    memory = {j: Memory.of(_of_parameters(by_rank[j])) for j in wanted}
    kept = memory[rank].kept if old == world else _merged([memory[j].kept for j in wanted[:-1]], world / old)
    return Memory(kept, memory[rank % old].histories), steps.pop()


def checked(states: Sequence[Mapping[str, Tensor]]) -> list[State]:
    """Return what ranks saved, wherever it was put since: contiguous, on the CPU. Raises ValueError on else."""
    for state in states:
        _must_be_state(state)
    if not states:
        raise ValueError("no state was given; give what state_dict() returned, of all ranks")
    return [{key: x.detach().cpu().contiguous() for key, x in state.items()} for state in states]


def _must_be_state(state: object) -> None:
    """Raise ValueError where something is not what ``saved`` returns."""
    if not isinstance(state, Mapping):
        raise ValueError(f"{_NO_STATE}, not a {type(state).__name__}")
    if missing := [name for name in _COUNTERS if name not in state]:
        given = ", ".join(map(repr, list(state)[:3])) or "nothing"
        raise ValueError(f"{_NO_STATE}; it has {given} and no {', '.join(map(repr, missing))}")
    for key, x in state.items():
        if not isinstance(x, Tensor):
            raise ValueError(f"{_NO_STATE}; {key!r} is a {type(x).__name__}, expected a tensor")
        if key in _COUNTERS and (x.numel() != 1 or x.is_floating_point() or int(x) < 0):
            raise ValueError(f"{_NO_STATE}; {key!r} is {x!r}, expected a whole number")
        if key not in (*_COUNTERS, _ORDER) and key.count("/") < 1 + key.startswith(f"{_HISTORY}/"):
            raise ValueError(f"{_NO_STATE}, and has no {key!r}")
    if not int(state["rank"]) < int(state["world"]):
        raise ValueError(f"{_NO_STATE}; it is of rank {int(state['rank'])} of {int(state['world'])}")


_NO_STATE = "this is no state of a compression, which is what compression.state_dict() returned"


def _of_parameters(state: Mapping[str, Tensor]) -> State:
    return {key: x for key, x in state.items() if key not in (*_COUNTERS, _ORDER) and not key.startswith(PLAN)}


def _merged(kept: Sequence[Mapping[str, State]], factor: float) -> dict[str, State]:
    """Return the sum of several ranks' tensors times a factor; what a rank does not have counts as zeros."""
    total: dict[str, State] = {}
    for name, state in ((name, state) for ranks in kept for name, state in ranks.items()):
        sums = total.setdefault(name, {})
        for key, x in state.items():
            sums[key] = sums[key] + x * factor if key in sums else x * factor
    return total
