"""Which tensors of a large model to measure on: some of every shape, so that they stand for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thinwire.codec import Spec

LEAST_BYTES = 65_536
"""Of every shape at least that much is taken: less says nothing of how it compresses."""


@dataclass(frozen=True)
class Pick:
    """A tensor, how many of its first rows to take (None: all), and how many times that it stands for."""

    name: str
    rows: int | None
    weight: float


def choose(specs: Mapping[str, Spec], most_bytes: float) -> list[Pick]:
    """Return all tensors where they fit ``most_bytes``, else about that much: the same part of every shape and dtype.

    Of a shape whose part is less than one tensor, the first rows of one are taken. The weights make up for what was
    left out: weighted, the picks of a shape are as many elements as all of it.
    """
    total_bytes = sum(spec.nbytes for spec in specs.values())
    if total_bytes <= most_bytes:
        return [Pick(name, None, 1.0) for name in specs]
    groups: dict[Spec, list[str]] = {}
    for name, spec in specs.items():
        if spec.numel:
            groups.setdefault(spec, []).append(name)
    part = most_bytes / total_bytes
    return [pick for spec, names in groups.items() for pick in _picks(spec, names, part)]


def _picks(spec: Spec, names: list[str], part: float) -> list[Pick]:
    wanted_bytes = max(part * len(names) * spec.nbytes, min(LEAST_BYTES, spec.nbytes))
    rows = _rows(spec, wanted_bytes)
    count = min(len(names), max(1, int(wanted_bytes // spec.nbytes)))
    share = rows / spec.shape[0] if rows is not None else 1.0
    weight = len(names) / count / share
    return [Pick(names[at * len(names) // count], rows, weight) for at in range(count)]


def _rows(spec: Spec, wanted_bytes: float) -> int | None:
    if spec.nbytes <= wanted_bytes or not spec.shape:
        return None
    rows = max(1, int(wanted_bytes // (spec.nbytes // spec.shape[0])))
    return rows if rows < spec.shape[0] else None
