"""The exceptions that thinwire raises on purpose, one per side of a link, and how a stranger's text is shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 2000
"""Characters of an error."""


class _Shown(Exception):
    """An error whose text may hold what a stranger wrote: names, dtypes, reasons. It is one line that hides nothing."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(escaped(arg, _MOST) if isinstance(arg, str) else arg for arg in args))


class WireError(_Shown, ValueError):
    """What a peer sent cannot be decoded. Nothing was changed and no partial result exists."""


class NonFiniteError(_Shown, ValueError):
    """A tensor handed to a lossy codec holds NaN or infinity."""


class CheckpointError(_Shown, ValueError):
    """What was given, what was expected, what to do: a file, a base or a goal does not fit. Nothing was written."""


class PlanMismatch(_Shown, RuntimeError):
    """Ranks of one training run are about to do different things: the text says what differs, and between whom."""


class PeerError(_Shown, RuntimeError):
    """Another rank cannot go on, for a reason of its own: the text says who and why."""


def unknown(kind: str, given: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name: what was given, the nearest match, and what is possible."""
    names = sorted(known)
    lowered = {name.lower(): name for name in reversed(names)}
    near = difflib.get_close_matches(given[:100].lower(), lowered, n=1, cutoff=0.5)
    hint = f" Did you mean {lowered[near[0]]!r}?" if near else ""
    return f"unknown {kind} {quoted(given)}.{hint} Known: {', '.join(names)}."


def escaped(text: object, most: int = 200) -> str:
    """Return a stranger's text as it may be shown: one line, nothing that moves, hides or reorders what is around it.

    Control and format characters (escape sequences, bidi controls, line ends), surrogates and the like become escapes
    such as ``\\x1b``; beyond ``most`` characters the text is cut, and the cut says how long it was.
    """
    whole = str(text)
    shown = "".join(sign if sign.isprintable() else _escape(sign) for sign in whole[:most])
    return shown if len(whole) <= most else f"{shown}... ({len(whole):,} characters)"


def quoted(name: object, most: int = 120) -> str:
    """Return a stranger's name in quotes, as ``repr`` writes it but cut like ``escaped``."""
    whole = str(name)
    return repr(whole) if len(whole) <= most else f"{whole[:most]!r}... ({len(whole):,} characters)"


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
