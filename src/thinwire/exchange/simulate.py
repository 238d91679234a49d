"""The tensors of N ranks averaged in one process, by the same exchanges. For tests and studies of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import Codec, Spec, State, derive_seed
from thinwire.exchange.choice import Choice, Name, chosen, start
from thinwire.exchange.drive import driven
from thinwire.exchange.lockstep import RankError, lockstep
from thinwire.exchange.requests import Average, Place

Averages = dict[str, Average]


@dataclass(frozen=True)
class Simulation:
    """What every rank holds in the end, how it went, and what each rank handed to its network."""

    averages: tuple[Averages, ...]
    choices: Mapping[str, Choice]
    operations: tuple[str, ...]
    sent_bytes: tuple[int, ...]
    """These two as ``Lockstep`` has them."""


def simulated(
    per_rank: Sequence[Mapping[str, Tensor]],
    codecs: Codec | Mapping[str, Codec],
    seed: int = 0,
    histories: Sequence[Mapping[str, State]] = (),
    exchange: Name | None = None,
) -> Simulation:
    """Average name -> float tensor over ranks, as ``world = len(per_rank)`` processes would.

    ``codecs``: one for all tensors, or by name. ``histories``: of each rank, by name. ``exchange`` overrides what would
    be chosen. Raises NonFiniteError, and WireError where a frame cannot be read.
    """
    world = len(per_rank)
    plan = {name: codecs if isinstance(codecs, Codec) else codecs[name] for name in per_rank[0]}
    choices = {name: _choice(plan[name], Spec.of(x), world, exchange) for name, x in per_rank[0].items()}
    drivings = []
    for rank, tensors in enumerate(per_rank):
        place, past = Place(rank, world), histories[rank] if histories else {}
        exchanges = {
            name: start(choices[name].name, plan[name], x, place, derive_seed(seed, name), past.get(name, {}))
            for name, x in tensors.items()
        }
        drivings.append(driven(exchanges, world))
    try:
        done = lockstep(drivings)
    except RankError as failed:
        raise next(iter(failed.errors.values())) from None
    return Simulation(done.results, choices, done.operations, done.sent_bytes)


def _choice(codec: Codec, spec: Spec, world: int, wanted: Name | None) -> Choice:
    return chosen(codec, spec, world) if wanted is None else Choice(wanted, "asked for")
