"""One bucket of gradients at one rank, and all that says how it is averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from thinwire.codec import Codec, Spec, Specs, State, derive_seed, specs
from thinwire.collective import Plan
from thinwire.compressor import Compressor
from thinwire.ddp.state import Memory
from thinwire.exchange import Choice, Place, chosen
from thinwire.policy import Signals


@dataclass(frozen=True)
class Turn:
    """What is the same for all buckets of a step: its number (from 1), the seed, and the loss scale."""

    step: int
    seed: int
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Bucket:
    """Gradients by parameter name (CPU floats, any shape and stride; not changed), and how each is to be averaged.

    ``led``: rank 0 planned. It then looks at what its encodings take, which has to be the same whatever the bucket.
    """

    gradients: Mapping[str, Tensor]
    specs: Specs
    codecs: Mapping[str, Codec]
    choices: Mapping[str, Choice]
    memory: Memory
    made: Compressor
    place: Place
    turn: Turn
    led: bool

    @classmethod
    def of(
        cls,
        gradients: Mapping[str, Tensor],
        memory: Memory,
        made: Compressor,
        place: Place,
        turn: Turn,
        codecs: Mapping[str, Codec] | None = None,
    ) -> Bucket:
        """Return the bucket; ``codecs``: name -> codec where rank 0 planned, else the policy is asked here."""
        shared = specs(gradients)
        plan = made.policy.plan(shared, Signals(round=turn.step)) if codecs is None else codecs
        choices = {name: chosen(plan[name], spec, place.world) for name, spec in shared.items()}
        return cls(gradients, shared, plan, choices, memory, made, place, turn, led=codecs is not None)

    def unscaled(self, name: str) -> Tensor:
        """Return a gradient without the loss scale."""
        return unscaled(self.gradients[name], self.turn.scale)

    def kept(self, name: str) -> State:
        """Return what feedback kept of a parameter."""
        return self.memory.kept.get(name, {})

    def history(self, name: str) -> State:
        """Return what the codec of a parameter remembers."""
        return self.memory.histories.get(name, {})

    def seed(self, name: str) -> int:
        """Return the seed of a parameter at this step, the same on all ranks."""
        return derive_seed(self.turn.seed, f"{self.turn.step}/{name}")

    def plan(self) -> Plan:
        """Return what all ranks have to agree on."""
        turn = self.turn
        settings = {"the step": str(turn.step), "the seed": str(turn.seed), "the loss scale": repr(turn.scale)}
        lines = {name: _line(self.codecs[name], spec, self.choices[name].name) for name, spec in self.specs.items()}
        return Plan(settings | lines)


def unscaled(x: Tensor, scale: float) -> Tensor:
    """Return a gradient divided by the loss scale, in its working dtype."""
    return x.to(Spec.of(x).working) / scale if scale != 1.0 else x


@cache
def _line(codec: Codec, spec: Spec, exchange: str) -> str:
    return f"{codec} for {tuple(spec.shape)} {spec.dtype}, by {exchange}"
