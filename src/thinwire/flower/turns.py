"""What earlier rounds cost on a client's link: half of it measured by the client, the whole by the server.

The server knows how long a round took, from sending its message until the reply was there; the client how long it
computed and coded. What is left was the network's: both ways, which share it by their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace

from flwr.app import Context

from thinwire.flower.instructions import Instructions
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


def settled(turn: Turn, round_: int, told: Instructions, latency_s: float = 0.0) -> tuple[Turn, ...]:
    """Return the turn of a round whose fate the server tells; nothing where it does not say how long that took."""
    if round_ == told.accepted and told.elapsed_s >= 0:
        return (timed(turn, told.elapsed_s, latency_s),)
    if round_ == told.missed and told.missed_s >= 0:
        return (late(turn, told.missed_s, latency_s),)
    return ()


def flat(turns: Sequence[Turn]) -> list[float]:
    """Return turns as a list of numbers, as Flower's records hold them."""
    return [float(value) for turn in turns for value in astuple(turn)]


def from_flat(values: object) -> tuple[Turn, ...]:
    """Invert ``flat``; nothing where it is not of its making."""
    if not isinstance(values, list) or len(values) % _FIELDS or not all(isinstance(v, float) for v in values):
        return ()
    rows = [values[at : at + _FIELDS] for at in range(0, len(values), _FIELDS)]
    return tuple(Turn(int(sent), send_s, int(got), *times) for sent, send_s, got, *times in rows)


def stated(context: Context, name: str) -> float | None:
    """Return what this node's config says of its link, ``bandwidth-bps`` or ``latency-s``; else the run's config."""
    for config in (context.node_config, context.run_config):
        value = config.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
            return float(value)
    return None
