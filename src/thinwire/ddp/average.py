"""The average over ranks of one bucket of gradients, and what stays behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from thinwire.codec import State
from thinwire.ddp.bucket import Bucket
from thinwire.ddp.encodings import Encodings
from thinwire.ddp.state import Memory
from thinwire.ddp.units import units
from thinwire.exchange import Average, Choice, Driving, driven
from thinwire.exchange.selected import NOTHING, Selected


@dataclass(frozen=True)
class Outcome:
    """What a bucket came to: the averages, what to remember once the step is whole, how each was averaged."""

    averages: Mapping[str, Average]
    scale: float
    memory: Memory
    choices: Mapping[str, Choice]
    payload_bytes: int = 0
    """Of one encoding of each of this rank's tensors, without frames."""
    selected: Selected = NOTHING

    def write(self, name: str, out: Tensor) -> None:
        """Put the mean gradient of a parameter into ``out``, of its shape and any float dtype."""
        self.averages[name].write(out, self.scale)


class Averaging:
    """How a bucket's gradients become their average; how bytes get to other ranks is up to whoever drives it.

    Nothing that was remembered is changed.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket, self.plan = bucket, bucket.plan()
        self._units, self._encodings = units(bucket), Encodings()
        self._left: dict[str, State] = {}

    def driving(self) -> Driving:
        """Return the exchanges, to be driven once. They raise NonFiniteError where a gradient holds NaN or infinity."""
        exchanges = {key: self._encodings.counted(unit.exchange()) for key, unit in self._units.items()}
        done = yield from driven(exchanges, self.bucket.place.world)
        averages: dict[str, Average] = {}
        for key, unit in self._units.items():
            whole = done.pop(key)
            averages |= unit.apart(whole)
            self._left |= unit.left(whole)
        return {name: averages[name] for name in self.bucket.specs}

    def outcome(self, averages: Mapping[str, Average]) -> Outcome:
        """Return what the bucket came to, once the driving returned."""
        kept = {name: self._left.get(name, {}) for name in averages}
        memory = Memory(kept, {name: average.history for name, average in averages.items()})
        counts = sum((average.selected for average in averages.values()), NOTHING)
        scale, choices = self.bucket.turn.scale, self.bucket.choices
        return Outcome(averages, scale, memory, choices, self._encodings.payload_bytes, counts)
