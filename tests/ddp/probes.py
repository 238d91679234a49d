"""What ranks do in the tests of what compression is worth."""

from __future__ import annotations

from typing import Any

import torch
from trainings import METHODS, Training

from thinwire.collective import LinkSpeed, TorchLink, probed
from thinwire.ddp import StepReport, Worth

CPU = torch.device("cpu")


def measured(group: Any) -> tuple[LinkSpeed | None, bool]:
    """Return what was measured, and whether torch's global generator is as it was."""
    before = torch.get_rng_state()
    found = probed(TorchLink.beside(group), group, CPU)
    return found, torch.equal(before, torch.get_rng_state())


def trained(group: Any, name: str, use_pipeline: bool, probe: bool) -> tuple[list[StepReport], Worth, str]:
    training = Training(group, *METHODS[name], use_pipeline=use_pipeline, probe=probe)
    for step in range(4):
        training.step(step)
    compression = training.compression
    return compression.steps, compression.worth(), compression.report()


def not_measured(group: Any) -> Worth:
    training = Training(group, "int8")
    training.step(0)
    return training.compression.worth()


def no_step(group: Any) -> None:
    Training(group, "int8").compression.worth(LinkSpeed(0.001, 1e9))


def elsewhere(group: Any) -> tuple[Worth, Worth]:
    """Return what the same steps would be worth on a slow link and on one that no codec is as fast as."""
    training = Training(group, *METHODS["hggtopk"])
    for step in range(4):
        training.step(step)
    slow, fast = LinkSpeed(1e-4, 1e3), LinkSpeed(1e-9, 1e15)
    return training.compression.worth(slow), training.compression.worth(fast)
