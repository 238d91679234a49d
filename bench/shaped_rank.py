"""One rank of `bench/shaped.py`, in its own namespace: takes the runs of a list, one after the other.

The runs are those of `thinwire train` joined from outside: the same `work`, in an environment as torchrun makes it.
What is added is a look at the interfaces' counters between two steps, on the first rank.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from shaped_net import counters

from thinwire.lab.training import stock
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.trainer import OnStep, Seen
from thinwire.lab.training.worker import Work, work

COUNTERS, DONE = "counters.json", "done"
SKIPPED = 3
"""Steps at the start that are not counted: buckets are made anew after the first, kernels are compiled."""
POWERSGD_START = 2
"""torch's least, where `thinwire train` keeps its ten dense steps: at 20 Mbit/s they would take minutes."""


@contextmanager
def counting(out: Path, names: Sequence[str]) -> Iterator[OnStep]:
    """Give a function to call after every step, which notes the counters after the skipped ones and after the last."""
    seen_at: list[dict[str, Any]] = []

    def on_step(seen: Seen) -> None:
        if seen.step in (SKIPPED, seen.steps):
            seen_at.append({"step": seen.step, "counters": [asdict(count) for count in counters(names)]})

    yield on_step
    (out / COUNTERS).write_text(json.dumps(seen_at))


def main() -> None:
    file, port = Path(sys.argv[1]), int(os.environ["MASTER_PORT"])
    told = json.loads(file.read_text())
    stock.POWERSGD_START = POWERSGD_START
    for number, run in enumerate(told["runs"]):
        out = Path(run["out"])
        out.mkdir(parents=True, exist_ok=True)
        os.environ["MASTER_PORT"] = str(port + number)
        work(Work(TrainConfig(**run["config"]), out, False, partial(counting, out, told["names"])))
        if os.environ["RANK"] == "0":
            (out / DONE).touch()


if __name__ == "__main__":
    main()
