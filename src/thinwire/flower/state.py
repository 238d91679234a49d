"""What a client keeps between messages, in Flower's ``Context.state``: its references, its residuals, its past turns.

Residuals are versioned by round. A reply may be lost after the residual was updated, so the new one is *pending* until
the server names its round as accepted; otherwise the old one counts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flwr.app import ConfigRecord, Context
from torch import Tensor

from thinwire.codec import State, encode
from thinwire.errors import WireError
from thinwire.flower import carrier
from thinwire.flower.instructions import Instructions
from thinwire.flower.shelf import Reference, Shelf
from thinwire.flower.turns import KEPT, flat, from_flat, settled
from thinwire.policy import Turn
from thinwire.registry import parse
from thinwire.wire import decode_message, dumps, loads_any

_PREFIX = "thinwire."
_WARN_BYTES = 100_000_000
_log = logging.getLogger("thinwire")


@dataclass(frozen=True)
class ClientState:
    """References, the residual that the server accepted, and the one of a reply whose fate is not known yet.

    Residual stands for all of a compressor's state. ``turns``: what earlier rounds cost, the newest last, whether their
    replies were taken or not; ``pending_turn``: what is known of the pending round.
    """

    shelf: Shelf = field(default_factory=Shelf)
    committed: State = field(default_factory=dict)
    pending: State = field(default_factory=dict)
    pending_round: int = -1
    turns: tuple[Turn, ...] = ()
    pending_turn: Turn | None = None

    def settled(self, told: Instructions, latency_s: float = 0.0) -> ClientState:
        """Return the state once the server said which reply it accepted last: a pending residual counts or is gone.

        Its turn stays either way, if the server says how long it took. ``latency_s`` is one way's share of that.
        """
        arrived = self.pending_round >= 0 and self.pending_round == told.accepted
        residual, turns = (self.pending if arrived else self.committed), self.turns
        if self.pending_turn is not None:
            turns = (*turns, *settled(self.pending_turn, self.pending_round, told, latency_s))[-KEPT:]
        return replace(self, committed=residual, pending={}, pending_round=-1, turns=turns, pending_turn=None)


def load(context: Context) -> ClientState:
    """Return the state of this node; an empty one where there is none or it cannot be read (which is said)."""
    try:
        current, keyframe = _read(context, "current"), _read(context, "keyframe")
        shelf = Shelf(Reference.of(current) if current else None, Reference.of(keyframe) if keyframe else None)
        if shelf.keyframe is None and "same" in _meta(context):
            shelf = Shelf(shelf.current, shelf.current)
        meta = _meta(context)
        round_, turns = int(str(meta.get("pending-round", -1))), from_flat(meta.get("turns"))
        pending_turn = next(iter(from_flat(meta.get("pending-turn"))), None)
        residuals = _read(context, "committed"), _read(context, "pending")
        return ClientState(shelf, *residuals, round_, turns, pending_turn)
    except WireError as error:
        _log.warning("the state of node %s cannot be read and starts anew: %s", context.node_id, error)
        return ClientState()


def save(context: Context, state: ClientState) -> None:
    """Put the state into the context."""
    shelf, same = state.shelf, state.shelf.keyframe is state.shelf.current
    size = _write(context, "current", shelf.current.tensors if shelf.current else {})
    size += _write(context, "keyframe", shelf.keyframe.tensors if shelf.keyframe and not same else {})
    size += _write(context, "committed", state.committed) + _write(context, "pending", state.pending)
    context.state[_PREFIX + "meta"] = meta = ConfigRecord({"pending-round": state.pending_round})
    if same and shelf.current:
        meta["same"] = True
    if state.turns:
        meta["turns"] = flat(state.turns)
    if state.pending_turn:
        meta["pending-turn"] = flat([state.pending_turn])
    if size > _WARN_BYTES:
        _log.warning(
            "the compression state of node %s is %.0f MB; Flower's SuperNode keeps it in memory and was seen to lose "
            "states above about 160 MB: use uplink feedback NoFeedback() for models of this size",
            context.node_id,
            size / 1e6,
        )


def _meta(context: Context) -> Mapping[str, object]:
    record = context.state.get(_PREFIX + "meta")
    return record if isinstance(record, ConfigRecord) else {}


def _read(context: Context, name: str) -> dict[str, Tensor]:
    data = carrier.carried(context.state.get(_PREFIX + name), carrier.STATE)
    return decode_message(loads_any(data)) if data else {}


def _write(context: Context, name: str, tensors: Mapping[str, Tensor]) -> int:
    context.state.pop(_PREFIX + name, None)
    if not tensors:
        return 0
    data = dumps({key: encode(parse("Raw()"), x) for key, x in tensors.items()}, schema=True)
    context.state[_PREFIX + name] = carrier.carry(data, carrier.STATE)
    return len(data)
