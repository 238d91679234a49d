"""Rounds that a client was not part of, as its policy should have seen them."""

from __future__ import annotations

from typing import Any

from thinwire.codec import State
from thinwire.flower.instructions import Instructions
from thinwire.policy import Policy, Signals

_POLICY = "policy/"


def policy_state(state: State) -> State:
    """Return what of a compressor's state is its policy's, under the same keys."""
    return {key: value for key, value in state.items() if key.startswith(_POLICY)}


def caught_up(policy: Policy, state: State, told: Instructions) -> State:
    """Return a compressor's state as if this client had been in every round: its policy is shown the losses it missed.

    The newest loss is that of the round to come, which the compressor itself will show.
    """
    keep: Any = getattr(policy, "keep", None)
    if keep is None:
        return state
    kept = {key.removeprefix(_POLICY): value for key, value in policy_state(state).items()}
    first = told.round - len(told.losses) + 1
    for round_, loss in enumerate(told.losses[:-1], first):
        kept = keep(Signals(round_, told.rounds or None, loss=loss, kept=kept))
    others = {key: value for key, value in state.items() if not key.startswith(_POLICY)}
    return others | {_POLICY + key: value for key, value in kept.items()}
