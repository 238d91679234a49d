"""A budget over many steps: gradients change while a plan holds, so that a step takes more or less than planned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from thinwire.codec import Spec
from thinwire.policy import Policy

_MOST_BACK, _MOST_FACTOR, _POWER = 0.25, 2.0, 0.7
"""The share of the budget that is saved or spent to make up for earlier steps; by how much steps of codecs are changed
at once; and the power of the bytes that they change with: less than at any rate, so that nothing swings."""


@dataclass(frozen=True)
class Spending:
    """Bytes of one rank's encodings: of all steps, and of those since codecs last changed."""

    steps: int = 0
    used: int = 0
    lately: int = 0
    lately_used: int = 0

    def after(self, nbytes: int, changed: bool) -> Spending:
        """Return the same with one more step."""
        lately, used = (0, 0) if changed else (self.lately, self.lately_used)
        return Spending(self.steps + 1, self.used + nbytes, lately + 1, used + nbytes)

    def wanted(self, goal: float, ahead: int) -> float:
        """Return the bytes that each of the ``ahead`` next steps may take for the mean of all to come to ``goal``."""
        back = (self.used - goal * self.steps) / ahead
        return goal - min(max(back, -_MOST_BACK * goal), _MOST_BACK * goal)

    def coarser(self, goal: float, ahead: int) -> float:
        """Return by which factor steps of codecs should become coarser for the steps ahead."""
        mean = self.lately_used / max(self.lately, 1)
        factor = math.pow(mean / self.wanted(goal, ahead), _POWER)
        return min(max(factor, 1 / _MOST_FACTOR), _MOST_FACTOR)

    def saved(self) -> Tensor:
        """Return it as a tensor."""
        return torch.tensor(astuple(self))

    @classmethod
    def of(cls, saved: Tensor) -> Spending:
        """Invert ``saved``."""
        return cls(*saved.tolist())


def goal_bytes(policy: Any, specs: Mapping[str, Spec]) -> float | None:
    """Return the bytes that a policy wants a message of these tensors to take; None where it has no such goal."""
    if not (hasattr(policy, "total_bytes") and hasattr(policy, "ratio")):
        return None
    total: float | None = policy.total_bytes
    return total if total is not None else sum(spec.nbytes for spec in specs.values()) / policy.ratio


def with_goal(policy: Any, nbytes: float) -> Policy:
    """Return the policy with another budget."""
    return replace(policy, total_bytes=max(1, int(nbytes)), ratio=None)  # type: ignore[no-any-return]
