"""One row of the result: a sender runs some steps on a source, a plain copy is timed in turn with it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from thinwire.codec import State
from thinwire.codecs.sparse.pairs import kept_count
from thinwire.lab.bench import quality
from thinwire.lab.bench.sources import Source
from thinwire.lab.bench.steps import Sender

COLD_STEPS = 2
"""Steps that are not counted: the first has no history and may load a kernel, the second is the first with history."""

Row = dict[str, Any]


def run(source: Source, sender: Sender, steps: int, seed: int, place: Tensor) -> Row:
    """Return the row of `steps` steps, more than COLD_STEPS; `place` is as large as the tensors, to copy them to.

    Quality is that of the last step, whose target holds what the steps before did not send.
    """
    clock = Clock(place)
    for at in range(steps - 1):
        clock.step(sender, source.at(at), seed + at)
    x, history = source.at(steps - 1), sender.history
    target = sender.target(x)
    values = clock.step(sender, x, seed + steps - 1)
    return {
        **_names(source, sender),
        **clock.row(),
        **quality.selection(target, values, kept_count(sender.density, target.numel())),
        **_cost(sender, target, values, seed + steps - 1, history),
    }


@dataclass
class Clock:
    """Seconds of every step and of the copy right before it."""

    place: Tensor
    steps_s: list[float] = field(default_factory=list)
    copies_s: list[float] = field(default_factory=list)

    def step(self, sender: Sender, x: Tensor, seed: int) -> Tensor:
        """Time a copy and a step; return the values sent."""
        self.copies_s.append(_seconds(self.place.copy_, x)[0])
        step_s, (_, values) = _seconds(sender.step, x, seed)
        self.steps_s.append(step_s)
        return values  # type: ignore[no-any-return]

    def row(self) -> Row:
        """Return medians, the ratio of the least times (which a busy machine disturbs less) and all times."""
        warm_s = self.steps_s[COLD_STEPS:]
        copy_s, step_s = statistics.median(self.copies_s), statistics.median(warm_s)
        ratios = {"copies": step_s / copy_s, "copies_least": min(warm_s) / min(self.copies_s)}
        medians = {"step_s": step_s, "copy_s": copy_s, "first_s": self.steps_s[0]}
        return ratios | medians | {"steps_s": self.steps_s, "copies_s": self.copies_s}


def _names(source: Source, sender: Sender) -> Row:
    method = sender.method
    return {
        "id": f"{source.name}:{sender.density:g}:{method.name}",
        "source": source.name,
        "density": sender.density,
        "method": method.name,
        "codec": str(method.codec or method.name),
        "feedback": method.feedback,
    }


def _cost(sender: Sender, target: Tensor, values: Tensor, seed: int, history: State) -> Row:
    if sender.method.codec is None:
        return quality.pairs(target, values)
    return quality.frames(sender.method.codec, target, seed, history)


def _seconds(run: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = run(*arguments)
    return time.perf_counter() - started, result
