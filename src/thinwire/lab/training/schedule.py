"""The learning rate as a function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

SCHEDULES = ("cosine", "step", "constant")
_DROPS = (0.5, 0.75)
_FACTOR = 0.1


def share(schedule: str, step: int, steps: int, warmup_steps: int) -> float:
    """Return what of the full learning rate step ``step`` (from 0) of ``steps`` takes.

    Linear warm-up (Goyal et al. 2017, arXiv:1706.02677) over the first ``warmup_steps``; then of what is left: cosine
    falls to 0 (Loshchilov & Hutter 2017, arXiv:1608.03983), step takes a tenth after half and again after three
    quarters (He et al. 2016), constant stays.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)
    if schedule == "cosine":
        return (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return _FACTOR ** sum(done >= drop for drop in _DROPS) if schedule == "step" else 1.0
