"""Levels by importance: of a client among the round's clients, or of a tensor among the update's tensors."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thinwire.codec import Codec, Spec, State
from thinwire.policy.plan import Plan, Policy, Signals
from thinwire.policy.resolution import finer, resolution_bits, resolution_field
from thinwire.registry import child, register, text

_NEARLY = 0.3
"""Bits by which a rounded number of levels may miss a whole bit."""


def importances(weights: Sequence[float]) -> list[float]:
    """Return every client's factor on the number of levels, given its weight in the average: all weights above 0.

    ``w**(2/3) * sqrt(sum(w**(2/3)) / sum(w**2))``, over the round's clients: with q levels times that, the variance of
    the weighted average, ``sum((w / levels)**2)``, is what q levels for everybody give, with the fewest levels in all.
    It is 1 where all weigh the same. DAdaQuant's client-adaptive rule (Hoenig et al. 2022, arXiv:2111.00465).
    """
    heaviest = max(weights, default=1.0)
    shares = [weight / heaviest for weight in weights]
    parts = [share ** (2 / 3) for share in shares]
    scale = math.sqrt(sum(parts) / sum(share**2 for share in shares)) if shares else 1.0
    return [part * scale for part in parts]


@register
@dataclass(frozen=True)
class ByImportance:
    """What ``policy`` plans, with as many times its levels as this client's data matters in the round's average.

    ``max(1, round(q * importance))`` levels; see ``importances``. Where the importance is not known, q.
    """

    policy: Policy = child("Fixed(Qsgd())")

    def __post_init__(self) -> None:
        _check_policy("ByImportance", self.policy)

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        told = signals.importance
        factor = told if told is not None and 0 < told < math.inf else 1.0
        return {name: finer(codec, factor) for name, codec in self.policy.plan(specs, signals).items()}

    def keep(self, signals: Signals) -> State:
        """Return what ``policy`` keeps."""
        return _kept(self.policy, signals)


@register
@dataclass(frozen=True)
class ByEnergy:
    """What ``policy`` plans, with bits moved from tensors of little energy an element to those of much.

    Reverse water-filling in whole bits: a bit more (twice the levels) goes to whichever tensor has the largest error
    per element, ``energy / numel / 4**bits``, until the whole update has as many bits as ``policy`` gave it; at most
    ``most`` bits more or fewer than that a tensor. By that model the error is never larger and the bits never more.
    Tensors whose energy is not known, and codecs that cannot be made finer, stay as they are. Measured curves know
    more than a model: see ``ByteBudget``.
    """

    policy: Policy = child("Fixed(Uniform(bits=4))")
    most: int = 3

    def __post_init__(self) -> None:
        _check_policy("ByEnergy", self.policy)
        if not isinstance(self.most, int) or self.most < 1:
            raise ValueError(f"ByEnergy: most is {self.most!r}, expected a number of bits from 1")

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        plan = self.policy.plan(specs, signals)
        more = water_filled(self._basins(plan, specs, signals.energies))
        return {name: finer(codec, 2.0 ** more.get(name, 0)) for name, codec in plan.items()}

    def keep(self, signals: Signals) -> State:
        """Return what ``policy`` keeps."""
        return _kept(self.policy, signals)

    def _basins(self, plan: Plan, specs: Mapping[str, Spec], energies: Mapping[str, float]) -> dict[str, Basin]:
        known = {n: energies[n] for n in plan if n in energies and math.isfinite(energies[n]) and specs[n].numel}
        return {
            name: Basin(specs[name].numel, energy / specs[name].numel, *self._limits(plan[name]))
            for name, energy in known.items()
            if resolution_field(plan[name])
        }

    def _limits(self, codec: Codec) -> tuple[int, int]:
        """Return how many bits fewer and more the codec really takes."""
        base = resolution_bits(codec)
        steps = range(-self.most, self.most + 1)
        takes = [n for n in steps if abs(resolution_bits(finer(codec, 2.0**n)) - base - n) < _NEARLY]
        return min(takes), max(takes)


@dataclass(frozen=True)
class Basin:
    """A tensor that bits are poured into."""

    size: int
    density: float
    """Energy per element."""
    least: int
    """Bits an element beside those it had: from ``least``, at most 0, to ``most``, at least 0."""
    most: int


def water_filled(basins: Mapping[str, Basin]) -> dict[str, int]:
    """Return how many bits an element each tensor gains or loses: no more bits in all, and no more error."""
    more = {name: basin.least for name, basin in basins.items()}
    left = -sum(basin.size * basin.least for basin in basins.values())
    heap = [(-basin.density / 4.0**basin.least, name) for name, basin in basins.items() if basin.density > 0]
    heapq.heapify(heap)
    while heap:
        error, name = heapq.heappop(heap)
        basin = basins[name]
        if more[name] < basin.most and basin.size <= left:
            more[name] += 1
            left -= basin.size
            heapq.heappush(heap, (error / 4, name))
    # What is left over where sizes differ may have cost more than it brought.
    even = dict.fromkeys(basins, 0)
    return more if _error(basins, more) <= _error(basins, even) else even


def _error(basins: Mapping[str, Basin], more: Mapping[str, int]) -> float:
    return math.fsum(basin.size * basin.density / 4.0 ** more[name] for name, basin in basins.items())


def _kept(policy: Policy, signals: Signals) -> State:
    keep = getattr(policy, "keep", None)
    return keep(signals) if keep else {}


def _check_policy(owner: str, policy: object) -> None:
    if not hasattr(policy, "plan"):
        raise ValueError(f"{owner}: {text(policy)} is not a policy; give one such as Fixed(Qsgd())")
