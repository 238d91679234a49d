"""What is compressed: recorded gradients of consecutive training steps, and draws from distributions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thinwire.lab.bench.synthetic import DISTRIBUTIONS
from thinwire.lab.gradients import RECIPES, flat, record

RECORDED_STEPS = (1, 100)
WINDOW = 8
"""Steps of a recording at most; more are served by taking the same ones again."""
RECORDED = {f"{model}-{step}": (model, step) for model in RECIPES for step in RECORDED_STEPS}
NAMES = (*RECORDED, *DISTRIBUTIONS)
GROUPS = {"recorded": tuple(RECORDED), "synthetic": tuple(DISTRIBUTIONS)}


@dataclass(frozen=True)
class Source:
    """Tensors to compress, float32 and 1-D: `at(0)`, `at(1)` and so on are those of consecutive steps."""

    name: str
    at: Callable[[int], Tensor]
    facts: dict[str, Any]
    """Where they are from, for the result."""


def sources(names: Sequence[str], steps: int, elements: int, root: Path | None, seed: int) -> Iterator[Source]:
    """Yield the named sources in the order of `NAMES`, each made when its turn comes; `steps` is how many are needed.

    A model is trained once for all of its sources. `elements` is the size of the synthetic ones.
    """
    for model in RECIPES:
        wanted = {name: step for name, (of, step) in RECORDED.items() if of == model and name in names}
        if wanted:
            yield from _recorded(model, wanted, min(steps, WINDOW), root, seed)
    for name in DISTRIBUTIONS:
        if name in names:
            yield _drawn(name, elements, seed)


def _recorded(model: str, wanted: dict[str, int], steps: int, root: Path | None, seed: int) -> Iterator[Source]:
    spans = {name: range(first, first + steps) for name, first in wanted.items()}
    recording = record(model, {step for span in spans.values() for step in span}, root, seed)
    for name, span in spans.items():
        tensors = [flat(recording.gradients[step]) for step in span]
        facts = {
            "kind": "recorded",
            "model": model,
            "data": recording.data,
            "step": span[0],
            "tensors": len(recording.gradients[span[0]]),
            "loss": recording.losses[span[0] - 1],
        }
        yield Source(name, _cycle(tensors), facts | _facts(tensors[0]))


def _cycle(tensors: Sequence[Tensor]) -> Callable[[int], Tensor]:
    return lambda at: tensors[at % len(tensors)]


def _drawn(name: str, elements: int, seed: int) -> Source:
    drawn = DISTRIBUTIONS[name](elements, seed)
    # Independent samples moved along are as good as new ones, and ready in a moment.
    stride = elements // 3 + 1
    return Source(name, lambda at: torch.roll(drawn, at * stride), {"kind": "synthetic"} | _facts(drawn))


def _facts(x: Tensor) -> dict[str, Any]:
    return {"elements": x.numel(), "nonzero": int(x.count_nonzero()) / x.numel()}
