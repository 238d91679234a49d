"""How rank 0 tells the others its plan: over a link, as everything else that ranks agree on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import torch

from thinwire.collective import Plan, TorchLink, agree, refuse
from thinwire.ddp.course import Course
from thinwire.errors import WireError
from thinwire.policy import Policy

LEADER = 0
_NAME_BYTES, _CODEC_BYTES = 1 << 10, 1 << 12
"""More than a parameter's name and the description of its codec take."""


def led(link: TorchLink, terms: Plan, names: Collection[str], make: Callable[[], Course]) -> Course:
    """Return the course that ``make`` returns on rank 0, on all ranks; ``kept`` stays there.

    What ``make`` raises, all ranks raise. PlanMismatch where ``terms`` differ, WireError where the course is not for
    exactly these names.
    """
    try:
        own = make() if link.rank == LEADER else None
        data = own.text.encode() if own else b""
    except Exception as error:
        raise refuse(link, terms, error) from error
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else _NOTHING
    coming = agree(link, terms, "gather", [raw] * link.world)
    if any(size > (_bound(names) if rank == LEADER else 0) for rank, size in enumerate(coming.sizes)):
        raise WireError(f"a plan of {max(coming.sizes):,} bytes for {len(names)} parameters")
    told = link.gather(raw, coming.sizes, coming.begun)[LEADER]
    course = Course.of(told.numpy().tobytes().decode(errors="replace")).checked(names)
    return replace(course, kept=own.kept) if own else course


def terms(step: int, policy: Policy) -> Plan:
    """Return what ranks must have alike when one plans for all."""
    return Plan({"the step": str(step), "the policy": type(policy).__name__})


_NOTHING = torch.empty(0, dtype=torch.uint8)


def _bound(names: Collection[str]) -> int:
    return _CODEC_BYTES + len(names) * (_NAME_BYTES + _CODEC_BYTES)
