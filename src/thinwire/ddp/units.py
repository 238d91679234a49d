"""What of a bucket travels as one tensor, where that changes nothing but time; every other gradient goes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from thinwire.codec import State
from thinwire.compressor import Compressor
from thinwire.ddp.alone import Alone
from thinwire.ddp.bucket import Bucket
from thinwire.ddp.grouped import grouped
from thinwire.ddp.summed import Summed, summed
from thinwire.exchange import Average, Exchange
from thinwire.feedback import ErrorFeedback, NoFeedback


class Unit(Protocol):
    """Gradients of a bucket that one exchange averages."""

    def exchange(self) -> Exchange:
        """Average them; once. Raises NonFiniteError."""
        ...

    def apart(self, average: Average) -> dict[str, Average]:
        """Return each one's own part of what the exchange came to."""
        ...

    def left(self, average: Average) -> dict[str, State]:
        """Return what feedback keeps of each, where it keeps anything, once the exchange came to an average."""
        ...


def units(bucket: Bucket) -> Mapping[str, Unit]:
    """Return the units of a bucket by name: the same, in the same order, on all ranks."""
    joint = _joins(bucket.made)
    sums = summed(bucket) if joint else {}
    groups = grouped(bucket) if joint and not bucket.led else []
    joined = [*sums.values(), *(group.names for group in groups)]
    found: dict[str, Unit] = {name: Alone(bucket, name) for name in _others(bucket, joined)}
    found |= {key: Summed(bucket, names) for key, names in sums.items()}
    return found | {str(group): group for group in groups}


def _joins(made: Compressor) -> bool:
    """Return whether what is sent of a gradient is only it and its residual: then several may go as one tensor."""
    return made.clip is None and isinstance(made.feedback, ErrorFeedback | NoFeedback)


def _others(bucket: Bucket, joined: Sequence[Sequence[str]]) -> list[str]:
    taken = {name for names in joined for name in names}
    return [name for name in bucket.specs if name not in taken]
