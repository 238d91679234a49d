"""What the server tells one client beside the model: how to answer, and the signals that policies follow.

round i32 | rounds i32 | accepted i32 | missed i32 | volume quantile f32 | importance f32 | elapsed seconds f32
| missed seconds f32 | losses u16 | losses x f64 | uplink, UTF-8
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from thinwire.errors import WireError

_FIXED = struct.Struct("<iiiiffffH")
MOST_LOSSES = 4096
"""A client that was away for longer is told of the newest ones."""


@dataclass(frozen=True)
class Instructions:
    """What the server tells one client beside the model."""

    uplink: str
    """How to compress the reply: text for ``thinwire.zoo.compressor``."""
    round: int
    rounds: int = 0
    """0: not known."""
    accepted: int = -1
    """The last round whose reply of this client the server accepted; -1: none."""
    volume_quantile: float = -1.0
    """This client's place among the round's clients by data size, in (0, 1]; -1: not known."""
    importance: float = -1.0
    """This client's factor on the levels of its reply (``Signals.importance``); -1: not known."""
    elapsed_s: float = -1.0
    """From sending the round named as accepted until its reply was there; -1: not known."""
    missed: int = -1
    """The newest round whose reply of this client was not taken: late, lost or refused; -1: none since ``accepted``."""
    missed_s: float = -1.0
    """How long the server waited for that reply; -1: not known."""
    losses: tuple[float | None, ...] = ()
    """Training losses of the last rounds, the newest last: those of which this client's state knows nothing yet."""

    def dumps(self) -> bytes:
        """Return the bytes."""
        rounds = (self.round, self.rounds, self.accepted, self.missed)
        signals = (self.volume_quantile, self.importance, self.elapsed_s, self.missed_s)
        fixed = _FIXED.pack(*rounds, *signals, len(self.losses))
        losses = [math.nan if loss is None else loss for loss in self.losses]
        return fixed + struct.pack(f"<{len(losses)}d", *losses) + self.uplink.encode()

    @classmethod
    def loads(cls, data: bytes) -> Instructions:
        """Read instructions. Raises WireError."""
        if len(data) < _FIXED.size:
            raise WireError("the instructions are cut short")
        round_, rounds, accepted, missed, *signals, count = _FIXED.unpack_from(data)
        at = _FIXED.size + 8 * count
        if at > len(data):
            raise WireError(f"the instructions are cut short: {count} losses in {len(data)} bytes")
        if not all(map(math.isfinite, signals)):
            raise WireError(f"the instructions say {signals}, expected finite numbers")
        losses = struct.unpack_from(f"<{count}d", data, _FIXED.size)
        try:
            uplink = data[at:].decode()
        except UnicodeDecodeError:
            raise WireError("the uplink's description is not UTF-8") from None
        known = tuple(loss if math.isfinite(loss) else None for loss in losses)
        quantile, importance, elapsed_s, missed_s = signals
        times = (elapsed_s, missed, missed_s)
        return cls(uplink, round_, rounds, accepted, quantile, importance, *times, known)
