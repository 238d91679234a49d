"""The training loss that clients report, and what it says of the global model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from flwr.app import Message

NAMES = ("train_loss", "train-loss", "loss")
"""What apps call the loss of a training round in their metrics."""
_FAR, _LARGEST = 10.0, 1e30


def loss_of(reply: Message) -> float | None:
    """Return the training loss among a reply's metrics; None where there is none, or none that can be."""
    metrics = [*reply.content.metric_records.values(), *reply.content.config_records.values()]
    for record in metrics:
        for name in NAMES:
            if isinstance(loss := record.get(name), int | float) and abs(loss) <= _LARGEST:
                return float(loss)
    return None


def samples_of(reply: Message) -> int | None:
    """Return ``num-examples`` of a reply's metrics, where it has any that can be."""
    for record in reply.content.metric_records.values():
        for name in ("num-examples", "num_examples"):
            if isinstance(count := record.get(name), int | float) and 0 < count < 2**53:
                return max(1, int(count))
    return None


def average(reports: Sequence[tuple[int | None, float]]) -> float | None:
    """Return the mean of (samples, loss), weighted by samples; None where nobody reported.

    A loss further from the median than ten times its magnitude counts as one that far away: one client that says 1e30
    must not decide for all. Samples that are not known count as the median of those that are.
    """
    if not reports:
        return None
    middle = statistics.median(loss for _, loss in reports)
    reach = _FAR * abs(middle)
    losses = [min(max(loss, middle - reach), middle + reach) for _, loss in reports]
    known = [samples for samples, _ in reports if samples]
    usual = statistics.median(known) if known else 1
    weights = [samples or usual for samples, _ in reports]
    heaviest = max(weights)
    shares = [weight / heaviest for weight in weights]
    return math.fsum(share * loss for share, loss in zip(shares, losses, strict=True)) / math.fsum(shares)
