"""Compression that follows the amount of data of a client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thinwire.codec import Codec, Spec
from thinwire.policy.plan import Plan, Signals, plan_by_size
from thinwire.registry import child, register


@register
@dataclass(frozen=True)
class ByVolume:
    """A client's level of compression follows the amount of its data and tightens over the rounds.

    With the round's clients sorted by data size, those up to the quantile ``0.6 - 0.6 (e - 1) / E`` take ``coarse``,
    up to ``0.8 - 0.6 (e - 1) / E`` ``middle``, the others ``fine``; e is the round and E the number of rounds. The
    first ``fine_rounds`` rounds, and clients whose quantile is not known yet, take ``fine``.
    """

    coarse: Codec = child("Uniform(bits=8)")
    middle: Codec = child("Uniform(bits=12)")
    fine: Codec = child("Uniform(bits=16)")
    fine_rounds: int = 1
    small: Codec = child("Raw()")
    below: int = 1024

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        """Return the plan."""
        return plan_by_size(specs, self.level(signals), self.small, self.below)

    def level(self, signals: Signals) -> Codec:
        """Return the codec of this client in this round."""
        if signals.volume_quantile is None or signals.round <= self.fine_rounds:
            return self.fine
        done = 0.6 * (signals.round - 1) / (signals.rounds or signals.round)
        # Both sides are sums of fractions: a client exactly on an edge must not fall off it by a rounding error.
        quantile = signals.volume_quantile - 1e-6
        if quantile <= 0.6 - done:
            return self.coarse
        return self.middle if quantile <= 0.8 - done else self.fine
