"""What is compressed: recorded updates and draws from distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from thinwire.codec import Spec
from thinwire.lab.bench.synthetic import laplace, normal
from thinwire.lab.updates import UPDATES, record
from thinwire.policy.plan import is_large

SMALLEST = 1024
DRAWN: dict[str, Callable[[int, int], Tensor]] = {"laplace": laplace, "normal": normal}
NAMES = (*UPDATES, *DRAWN)
GROUPS = {"recorded": tuple(UPDATES), "synthetic": tuple(DRAWN)}


@dataclass(frozen=True)
class Case:
    """An update's matrices: tensors of two or more dimensions and at least 1,024 elements.

    All others are sent as they are by everybody, so that they would only blur the comparison.
    """

    name: str
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    @property
    def elements(self) -> int:
        """How many elements all tensors have."""
        return sum(x.numel() for x in self.tensors.values())

    @property
    def energy(self) -> float:
        """Sum of all squares."""
        return sum(float(x.double().square().sum()) for x in self.tensors.values())

    @property
    def rms(self) -> float:
        """Root of the mean square."""
        return math.sqrt(self.energy / self.elements)


def cases(names: tuple[str, ...], side: int, root: Path | None, seed: int) -> Iterator[Case]:
    """Yield the named cases, each made when its turn comes; a drawn one is a matrix of `side` rows and columns."""
    for name in names:
        yield _recorded(name, root, seed) if name in UPDATES else _drawn(name, side, seed)


def _recorded(name: str, root: Path | None, seed: int) -> Case:
    update = record(name, root, seed)
    large = {key: x for key, x in update.tensors.items() if is_large(Spec.of(x), SMALLEST)}
    how = {"local_steps": len(update.losses), "batch_rows": UPDATES[name].batch_rows, "losses": list(update.losses)}
    facts = {"kind": "recorded", "data": update.data, "round": update.round, **how}
    return _case(name, large, facts | {"elements_of_model": update.elements})


def _drawn(name: str, side: int, seed: int) -> Case:
    return _case(name, {"x": DRAWN[name](side * side, seed).view(side, side)}, {"kind": "drawn"})


def _case(name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Case:
    case = Case(name, tensors, facts)
    counts = {"elements": case.elements, "tensors": len(tensors), "zeros": _zeros(case), "kurtosis": _kurtosis(case)}
    return Case(name, tensors, facts | counts)


def _zeros(case: Case) -> float:
    return 1 - sum(int(x.count_nonzero()) for x in case.tensors.values()) / case.elements


def _kurtosis(case: Case) -> float:
    fourth = sum(float(x.double().pow(4).sum()) for x in case.tensors.values())
    return fourth * case.elements / case.energy**2
