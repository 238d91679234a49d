"""What a step cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from thinwire.exchange import Choice
from thinwire.exchange.selected import NOTHING, Selected


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step cost on this rank: bytes as the link counted them, seconds of wall-clock time."""

    step: int
    world: int
    sent_bytes: int
    received_bytes: int
    dense_bytes: int
    """Bytes of the gradients themselves."""
    encode_s: float
    """Encoding, averaging and decoding, over all buckets; lanes that ran side by side add up."""
    exposed_s: float
    """What training waited for: all the time in the hook or, with a pipeline, from the last bucket to the end."""
    lane_s: float
    """Of ``encode_s``, that of the lane that had most."""
    lane_rounds: int
    """Exchanges of bytes with the other ranks, of the lane that had most."""
    buckets: int
    last_share: float
    """Of ``dense_bytes``, the share in the last bucket: what cannot be sent before backward is over."""
    backward_s: float
    """Backward from the first bucket to the last, without the time in the hook: what averaging can hide behind."""
    exchanges: Mapping[str, Choice] = field(default_factory=dict, repr=False)
    """How each parameter was averaged, and why so."""
    selected: Selected = NOTHING
    """Elements that sparse codecs selected of this rank's gradients, and what their densities asked for."""
    encoded_bytes: int = 0
    """Of one encoding of each of this rank's gradients, framing included: what a budget is about."""
    plan_s: float = 0.0
    """Planning, or waiting for rank 0's plan; part of ``exposed_s``."""

    @property
    def allreduce_bytes(self) -> float:
        """Return what each rank sends in a dense all-reduce of the same gradients: ``2 (N - 1) / N`` of them."""
        return 2 * (self.world - 1) / self.world * self.dense_bytes

    @property
    def ratio(self) -> float:
        """Return how many times fewer bytes were sent than in a dense all-reduce; 1 where nothing was sent."""
        return self.allreduce_bytes / self.sent_bytes if self.sent_bytes else 1.0


def text(steps: Sequence[StepReport]) -> str:
    """Return what the steps cost, in a few lines."""
    if not steps:
        return "no step yet"
    sent, dense = (sum(getattr(step, name) for step in steps) for name in ("sent_bytes", "allreduce_bytes"))
    encode_ms, exposed_ms = (
        sum(getattr(s, name) for s in steps) / len(steps) * 1e3 for name in ("encode_s", "exposed_s")
    )
    ratio = f", {dense / sent:.1f}x fewer than the {dense:,.0f} of a dense all-reduce" if sent else ""
    return "\n".join(
        [
            f"{len(steps)} steps on each of {steps[-1].world} ranks",
            f"  sent {sent:,} bytes{ratio}",
            f"  a step: {encode_ms:.2f} ms of encoding and decoding, {exposed_ms:.2f} ms exposed",
            *_exchanges(steps[-1].exchanges),
        ]
    )


def _exchanges(choices: Mapping[str, Choice]) -> list[str]:
    counts = Counter(choices.values())
    return [f"  {choice.name} for {count} parameters: {choice.reason}" for choice, count in counts.items()]
