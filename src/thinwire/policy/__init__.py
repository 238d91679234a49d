"""Policies: what adapts. A policy maps specs and signals to one codec a tensor, and looks at nothing else.

Codecs reach a policy as fields, and a policy varies them with ``dataclasses.replace``: it imports none.
"""

from thinwire.policy.bound import ErrorBound
from thinwire.policy.fixed import Fixed, WarmUp
from thinwire.policy.plan import Curve, Plan, Point, Policy, Signals, Turn, plan_by_size
from thinwire.policy.volume import ByVolume

__all__ = [
    "ByVolume",
    "Curve",
    "ErrorBound",
    "Fixed",
    "Plan",
    "Point",
    "Policy",
    "Signals",
    "Turn",
    "WarmUp",
    "plan_by_size",
]
