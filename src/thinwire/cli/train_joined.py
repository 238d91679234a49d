"""`train` as one of the workers that torchrun started, on one machine or several."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thinwire.lab.training.joined import Place
    from thinwire.lab.training.worker import Work

LOST = "gloo"
"""In the text of torch's error where the link to another worker broke."""


def workers(options: argparse.Namespace, place: Place, gpus: int) -> int:
    """Return how many workers there are. Raises ValueError where the options or this machine say otherwise."""
    place.check(options.workers, options.gpus)
    if 0 < gpus < place.local_world:
        raise ValueError(
            f"{place.local_world} workers were started on this machine, which has GPUs: {gpus}; start as many workers "
            "on each (--nproc-per-node), or give --gpus 0"
        )
    return place.world


def join(told: Work, place: Place) -> int:
    """Train with the others; return the exit code. Raises what is a bug."""
    from thinwire.lab.training.launch import EXPECTED
    from thinwire.lab.training.worker import work

    try:
        work(told)
    except Exception as error:
        lost = isinstance(error, RuntimeError) and LOST in str(error)
        if type(error).__name__ not in EXPECTED and not lost:
            raise
        text = f"the link to another worker broke: {error}" if lost else error
        print(f"thinwire train: worker {place.rank} failed: {text}", file=sys.stderr)
        return 1
    return 0
