"""Replies that no strategy could aggregate are found before it tries: who answers otherwise than its peers is refused.

Clients may well answer with other arrays than they were sent (personal heads stay at home, tree ensembles grow, a
second record comes along). What they must not do is differ from each other, which stops a whole run in a strategy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor

from thinwire.errors import WireError
from thinwire.flower.names import short
from thinwire.flower.records import Arrays

_ENOUGH = 3
"""Lone replies like their message, and none unlike, after which one unlike is refused."""
Layout = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, kind of number and shape of every array, by name."""


def layout_of(arrays: Arrays, names: Mapping[str, str]) -> Layout:
    """Return what replies to one message have in common; ``names``: what an array is called instead of its own name.

    One-dimensional integers may be bytes, of any number.
    """
    typed = [(names.get(name, name), *_kind_and_shape(x)) for name, x in arrays.tensors.items()]
    return tuple(sorted([*typed, *((names.get(name, name), "other", ()) for name in arrays.others)]))


def _kind_and_shape(x: Tensor) -> tuple[str, tuple[int, ...]]:
    if not x.dtype.is_floating_point and x.dim() == 1:
        return "integers", (-1,)
    return ("floats" if x.dtype.is_floating_point else "integers"), tuple(x.shape)


class Consistency:
    """Compares the replies to one model with each other, and a lone reply with those before it.

    A reply like the message is always fine. Of the others one or a few among many that are like the message, or like
    each other, are refused; where many differ they do so by design (slices of a model, say), and all are fine.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, Layout], Counter[bool]] = {}
        """By kind of message and its layout: how many lone replies were like it, and how many were not."""

    def check(self, kind: str, replies: Mapping[int, Layout], sent: Layout) -> dict[int, WireError]:
        """Return the replies, by any number, that cannot be aggregated with the others, each with what differs."""
        if len(replies) == 1:
            return self._check_lone(kind, *next(iter(replies.items())), sent)
        counts = Counter(replies.values())
        chosen = max(counts, key=lambda layout: (counts[layout], layout == sent))
        if 2 * counts[sent] >= len(replies):
            chosen = sent
        elif 3 * counts[chosen] <= 2 * len(replies):
            return {}
        return {
            key: WireError(_difference(layout, chosen))
            for key, layout in replies.items()
            if layout not in (chosen, sent)
        }

    def _check_lone(self, kind: str, key: int, layout: Layout, sent: Layout) -> dict[int, WireError]:
        seen = self._seen.setdefault((kind, sent), Counter())
        if layout != sent and not seen[False] and seen[True] >= _ENOUGH:
            return {key: WireError(_difference(layout, sent))}
        seen[layout == sent] += 1
        return {}


def _difference(given: Layout, expected: Layout) -> str:
    theirs, ours = {name: rest for name, *rest in given}, {name: rest for name, *rest in expected}
    odd = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    shown = [f"{short(name)!r} is {_shown(theirs.get(name))}, expected {_shown(ours.get(name))}" for name in odd[:3]]
    more = f", and {len(odd) - 3} more" if len(odd) > 3 else ""
    return f"other arrays than the other clients return: {', '.join(shown)}{more}"


def _shown(kind: Sequence[object] | None) -> str:
    return "missing" if kind is None else f"{kind[0]} {kind[1]}"
