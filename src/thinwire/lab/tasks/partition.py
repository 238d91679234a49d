"""How training rows are dealt to clients: `partition("dirichlet(0.5)")(targets, clients=10, seed=0)`.

Every row goes to exactly one client, and every client gets at least min(8, rows // clients) rows; with by-label, where
a minimum would break the promise about labels, at least one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thinwire.lab.tasks.base import unknown

MINIMUM_ROWS = 8

Parts = list[NDArray[np.int64]]
Split = Callable[[NDArray[np.generic], int, float, np.random.Generator], Parts]


@dataclass(frozen=True)
class Partition:
    """A rule with its number (0 where it takes none); `str` gives the text that `partition` reads.

    Raises ValueError for an unknown name, with the known ones and the nearest, and for a number that does not fit.
    """

    name: str
    value: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise unknown("partition", self.name, map(_usage, RULES))
        if not RULES[self.name].accepts(self.value):
            raise ValueError(f"partition {_usage(self.name)} takes {RULES[self.name].numbers}, got {self.value!r}")

    def __call__(self, targets: ArrayLike, clients: int, seed: int) -> Parts:
        """Return one ascending int64 index array per client; the same arguments give the same arrays.

        `targets` is the class of each row: a list, an array or a CPU tensor [rows]. Raises ValueError where there are
        fewer rows than clients, or where by-label cannot give every class a client and every client a row.
        """
        labels = np.asarray(targets)
        if labels.ndim != 1 or not 1 <= clients <= len(labels):
            raise ValueError(f"cannot deal targets of shape {labels.shape} to {clients} clients: each needs a row")
        parts = RULES[self.name].split(labels, clients, self.value, np.random.default_rng(seed))
        return [np.sort(part) for part in parts]

    def __str__(self) -> str:
        number = repr(self.value).removesuffix(".0")
        return f"{self.name}({number})" if RULES[self.name].argument else self.name


def partition(spec: str) -> Partition:
    """Read `iid`, `dirichlet(alpha)`, `by-label(classes_per_client)` or `by-size(sigma)`.

    Raises ValueError for any other text, as Partition does.
    """
    match = re.fullmatch(r"([\w-]+)(?:\(([^()]*)\))?", spec.strip())
    name, number = match.groups() if match else (spec, None)
    value = _number(number) if number is not None else 0.0
    if name in RULES and not RULES[name].accepts(value):
        raise ValueError(f"partition {_usage(name)} takes {RULES[name].numbers}, got {spec!r}")
    return Partition(name, value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _usage(name: str) -> str:
    return f"{name}({RULES[name].argument})" if RULES[name].argument else name


def _iid(labels: NDArray[np.generic], clients: int, _: float, rng: np.random.Generator) -> Parts:
    return np.array_split(rng.permutation(len(labels)), clients)


def _dirichlet(labels: NDArray[np.generic], clients: int, alpha: float, rng: np.random.Generator) -> Parts:
    """Cut each class at shares drawn from a symmetric Dirichlet(alpha), as Li et al. 2022 do (arXiv:2102.02079)."""
    by_class = [
        _cut(rng.permutation(np.flatnonzero(labels == label)), rng.dirichlet([alpha] * clients))
        for label in np.unique(labels)
    ]
    return _topped_up([np.concatenate(pieces) for pieces in zip(*by_class, strict=True)])


def _by_label(labels: NDArray[np.generic], clients: int, per_client: float, rng: np.random.Generator) -> Parts:
    """Give each client `per_client` classes, each class shared evenly by those who have it (McMahan et al. 2017)."""
    classes, held = rng.permutation(np.unique(labels)), int(per_client)
    if not len(classes) <= clients * held or held > len(classes):
        raise ValueError(
            f"by-label({held}) cannot deal {len(classes)} classes to {clients} clients so that none is left"
        )
    parts: list[Parts] = [[] for _ in range(clients)]
    for position, label in enumerate(classes):
        owners = [slot // held for slot in range(position, clients * held, len(classes))]
        for owner, piece in zip(owners, _even(rng, labels == label, len(owners)), strict=True):
            parts[owner].append(piece)
    if empty := [client for client, pieces in enumerate(parts) if not sum(map(len, pieces))]:
        raise ValueError(f"by-label({held}) leaves clients {empty} without a row; take fewer clients or more classes")
    return [np.concatenate(pieces) for pieces in parts]


def _even(rng: np.random.Generator, chosen: NDArray[np.bool_], pieces: int) -> Parts:
    return np.array_split(rng.permutation(np.flatnonzero(chosen)), pieces)


def _by_size(labels: NDArray[np.generic], clients: int, sigma: float, rng: np.random.Generator) -> Parts:
    """Cut shuffled rows into sizes in proportion to exp(sigma * normal): a few large clients and many small ones."""
    weights = np.exp(sigma * rng.standard_normal(clients))
    return _topped_up(_cut(rng.permutation(len(labels)), weights / weights.sum()))


def _cut(rows: NDArray[np.int64], shares: NDArray[np.float64]) -> Parts:
    return np.split(rows, np.round(np.cumsum(shares)[:-1] * len(rows)).astype(np.int64))


def _topped_up(parts: Parts) -> Parts:
    """Return `parts` after the largest has given rows, one at a time, to each that is under the minimum."""
    rows = [part.tolist() for part in parts]
    minimum = min(MINIMUM_ROWS, sum(map(len, rows)) // len(rows))
    for small in rows:
        while len(small) < minimum:
            small.append(max(rows, key=len).pop())
    return [np.array(part, dtype=np.int64) for part in rows]


@dataclass(frozen=True)
class Rule:
    """A way to split rows; what its number is called, if it takes one, and which numbers fit."""

    split: Split
    argument: str
    numbers: str
    accepts: Callable[[float], bool]


RULES = {
    "iid": Rule(_iid, "", "no number", lambda none: none == 0),
    "dirichlet": Rule(_dirichlet, "alpha", "a number from 0.001 to 1e6", lambda alpha: 1e-3 <= alpha <= 1e6),
    "by-label": Rule(_by_label, "classes_per_client", "a whole number from 1 up", lambda k: k >= 1 and k % 1 == 0),
    "by-size": Rule(_by_size, "sigma", "a number from 0 to 10", lambda sigma: 0 <= sigma <= 10),
}
