"""What earlier rounds cost on a client's link: half of it measured by the client, the whole by the server.

The server knows how long a round took, from sending its message until the reply was there; the client how long it
computed and coded. What is left was the network's: both ways, which share it by their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace

from flwr.app import Context

from thinwire.flower.protocol import Fate, Outcome
from thinwire.policy import Turn

KEPT = 64
"""Rounds that a client remembers."""
LATE = 1.5
"""How many times what it had a reply needed that was not there in time: two thirds had got through, for all we know."""
_FIELDS = len(astuple(Turn(0, 0.0)))


def timed(turn: Turn, elapsed_s: float, latency_s: float = 0.0) -> Turn:
    """Return a turn with the seconds that its bytes took, given those of the whole round, of one way's latency each."""
    network_s = max(0.0, elapsed_s - turn.compute_s - turn.codec_s)
    latency_s = min(latency_s, network_s / 2)
    sent = turn.sent_bytes / max(1, turn.sent_bytes + turn.received_bytes)
    bytes_s = network_s - 2 * latency_s
    return replace(turn, send_s=latency_s + bytes_s * sent, receive_s=latency_s + bytes_s * (1 - sent))


def late(turn: Turn, waited_s: float, latency_s: float = 0.0) -> Turn:
    """Return the turn of a reply that was not there after so many seconds: sending it takes ``LATE`` times what it had.

    Nobody knows how long that would have been. But who forgets late rounds takes a link for what it was in good ones.
    """
    shared = timed(turn, waited_s, latency_s)
    return replace(shared, send_s=LATE * shared.send_s)


def settled(turn: Turn, fate: Fate, latency_s: float = 0.0) -> tuple[Turn, ...]:
    """Return the turn of a round whose fate the server tells; nothing where it does not say how long that took."""
    if fate.seconds < 0:
        return ()
    share = timed if fate.outcome is Outcome.TAKEN else late
    return (share(turn, fate.seconds, latency_s),)


def from_rows(rows: Sequence[Sequence[float]]) -> tuple[Turn, ...]:
    """Return turns from the lists of their fields. Raises ValueError or TypeError where they are none."""
    if any(len(row) != _FIELDS for row in rows):
        raise ValueError(f"expected turns of {_FIELDS} numbers")
    return tuple(Turn(int(sent), float(s), int(got), *map(float, times)) for sent, s, got, *times in rows)


def stated(context: Context, name: str) -> float | None:
    """Return what this node's config says of its link, ``bandwidth-bps`` or ``latency-s``; else the run's config."""
    for config in (context.node_config, context.run_config):
        value = config.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
            return float(value)
    return None
