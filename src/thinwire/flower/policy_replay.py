"""Rounds that one end was not part of, as its policy should have seen them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from thinwire.codec import State
from thinwire.policy import Policy, Signals

_POLICY = "policy/"


def policy_state(state: State) -> State:
    """Return the policy's part of a compressor's state, under the same keys."""
    return {key: value for key, value in state.items() if key.startswith(_POLICY)}


def caught_up(
    policy: Policy, state: State, signals: Signals, losses: Sequence[float | None], shown_round: int
) -> State:
    """Return a compressor's state as if its policy had been in every round: it is shown the losses that it missed.

    ``losses`` are those of the rounds up to ``signals.round``, whose own the compressor will show; of those up to
    ``shown_round`` the policy knows already.
    """
    keep: Any = getattr(policy, "keep", None)
    if keep is None:
        return state
    kept = {key.removeprefix(_POLICY): value for key, value in policy_state(state).items()}
    first = signals.round - len(losses) + 1
    for round_, loss in enumerate(losses[:-1], first):
        if round_ > shown_round:
            kept = keep(replace(Signals(round_, signals.rounds), loss=loss, kept=kept))
    others = {key: value for key, value in state.items() if not key.startswith(_POLICY)}
    return others | {_POLICY + key: value for key, value in kept.items()}
