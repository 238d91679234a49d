"""Policies: what adapts. A policy maps specs and signals to one codec a tensor, and looks at nothing else.

Codecs reach a policy as fields, and a policy varies them with ``dataclasses.replace``: it imports none.
"""

from thinwire.policy.adaquant import AdaQuantFL
from thinwire.policy.bound import ErrorBound
from thinwire.policy.budget import ByteBudget
from thinwire.policy.deadline import Deadline
from thinwire.policy.fixed import Fixed, WarmUp
from thinwire.policy.importance import ByEnergy, ByImportance
from thinwire.policy.plan import Curve, Plan, Point, Policy, Signals, Trial, Turn, plan_by_size
from thinwire.policy.plateau import Plateau
from thinwire.policy.volume import ByVolume

__all__ = [
    "AdaQuantFL",
    "ByEnergy",
    "ByImportance",
    "ByVolume",
    "ByteBudget",
    "Curve",
    "Deadline",
    "ErrorBound",
    "Fixed",
    "Plan",
    "Plateau",
    "Point",
    "Policy",
    "Signals",
    "Trial",
    "Turn",
    "WarmUp",
    "plan_by_size",
]
