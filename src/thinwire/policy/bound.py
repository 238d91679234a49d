"""A threshold on the error, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from thinwire.codec import Codec, Spec
from thinwire.policy.plan import Plan, Signals, plan_by_size
from thinwire.registry import child, register


@register
@dataclass(frozen=True)
class ErrorBound:
    """Per tensor, the fewest bytes whose error stays within a threshold; verified on what the peer decodes.

    ``codec`` is a template with a field ``nmse``: ``Step()``, ``Uniform()``, ``LowRank()``, ``Smallest()`` of several.
    """

    nmse: float = 0.01
    codec: Codec = child("Step()")
    small: Codec = child("Raw()")
    below: int = 1024

    def __post_init__(self) -> None:
        _bounded(self.codec, self.nmse)

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        return plan_by_size(specs, _bounded(self.codec, self.nmse), self.small, self.below)


def _bounded(codec: Any, nmse: float) -> Codec:
    """Return the template with its error bound set. Raises ValueError where the codec has none."""
    if not hasattr(codec, "nmse"):
        raise ValueError(f"ErrorBound: {codec!r} has no error bound; use Step(), Uniform() or LowRank()")
    unset = {name: None for name in _OTHER_GOALS if getattr(codec, name, None) is not None}
    return replace(codec, nmse=nmse, **unset)  # type: ignore[no-any-return]


_OTHER_GOALS = ("bits", "rank", "ratio", "absolute", "relative", "step")
