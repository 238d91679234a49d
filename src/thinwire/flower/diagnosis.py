"""What a client's error says: of the client's own code, or of how thinwire was put in; and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from thinwire.flower.engine import CLIENT_RAISED, MOD_FAILED
from thinwire.flower.records import DOWN, UP

PREFIX = "thinwire: "
"""How errors begin that thinwire itself answers with: their sender runs it."""
MISSING = "thinwire: reference is missing"
"""What a client's error says when it lost its state, and how the server recognizes that."""
RAISED = "thinwire: the app raised "
"""What a client's error says when the user's own code failed."""
_OTHER_VERSION = ("of thinwire's protocol", "not a package of version")


class Retry(Enum):
    """How to send a message again."""

    WHOLE = "whole"
    """With nothing taken for granted that the client might hold."""
    DENSE = "dense"
    """As ordinary arrays."""


@dataclass(frozen=True)
class Diagnosis:
    """What an error means."""

    text: str
    """For the log, once what ``retry`` says was tried and worked, or at once if there is nothing to try."""
    retry: Retry | None = None


def diagnose(code: int, reason: str, packed: bool, proven: bool) -> Diagnosis:
    """Return what a client's error means; ``proven``: it answered a package before."""
    if not packed:
        return Diagnosis(f"failed: {reason}")
    if MISSING in reason:
        return Diagnosis("lost what it held, and was sent the whole model", Retry.WHOLE)
    if reason.startswith(PREFIX):
        if any(words in reason for words in _OTHER_VERSION):
            return Diagnosis(
                f"runs another version of thinwire and is sent dense arrays from now on ({reason})", Retry.DENSE
            )
        return Diagnosis(f"failed: {reason.removeprefix(PREFIX)}")
    if proven or code not in (CLIENT_RAISED, MOD_FAILED):
        return Diagnosis(f"failed: {reason}")
    if UP in reason:
        return Diagnosis(
            "has another mod in front of thinwire's, which cannot read compressed updates, and is sent dense arrays from "
            "now on: put compression_mod first in ClientApp(mods=[...]), or use `app = compress_client(app)`",
            Retry.DENSE,
        )
    where = "" if DOWN in reason else f" ({reason[:300]})"
    return Diagnosis(
        "cannot read a compressed model but answers dense arrays, and is sent those from now on: it runs without "
        "thinwire (add `app = compress_client(app)` to its ClientApp), or with another mod in front of thinwire's (put "
        f"compression_mod first){where}",
        Retry.DENSE,
    )
