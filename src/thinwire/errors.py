"""The exceptions that thinwire raises on purpose, one per side of a link."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WireError(ValueError):
    """What a peer sent cannot be decoded. Nothing was changed and no partial result exists."""


class NonFiniteError(ValueError):
    """A tensor handed to a lossy codec holds NaN or infinity."""


class PlanMismatch(RuntimeError):
    """Ranks of one training run are about to do different things: the text says what differs, and between whom."""


class PeerError(RuntimeError):
    """Another rank cannot go on, for a reason of its own: the text says who and why."""


def unknown(kind: str, given: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name: what was given, the nearest match, and what is possible."""
    names = sorted(known)
    lowered = {name.lower(): name for name in reversed(names)}
    near = difflib.get_close_matches(given.lower(), lowered, n=1, cutoff=0.5)
    hint = f" Did you mean {lowered[near[0]]!r}?" if near else ""
    return f"unknown {kind} {given!r}.{hint} Known: {', '.join(names)}."
