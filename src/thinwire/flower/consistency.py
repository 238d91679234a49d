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
    """Compares the replies of one call with each other, and a lone reply with the last ones of its kind."""

    def __init__(self) -> None:
        self._usual: dict[tuple[str, Layout], Layout] = {}

    def check(self, kind: str, replies: Mapping[str, Layout], sent: Layout) -> dict[str, WireError]:
        """Return the replies to one model, by any key, that differ from the others, each with what differs.

        Most decide, or those that are like the message; where neither is so, all may be as they are. A lone reply is
        compared with the last ones.
        """
        counts = Counter(replies.values())
        usual = self._usual.get((kind, sent))
        if len(replies) == 1 and usual == sent:
            chosen = sent
        else:
            chosen = max(counts, key=lambda layout: (counts[layout], layout == sent, layout == usual))
            if 2 * counts[chosen] <= len(replies) and sent in counts:
                chosen = sent
            if 2 * counts[chosen] <= len(replies) and chosen != sent:
                return {}
        self._usual[kind, sent] = chosen
        return {key: WireError(_difference(layout, chosen)) for key, layout in replies.items() if layout != chosen}


def _difference(given: Layout, expected: Layout) -> str:
    theirs, ours = {name: rest for name, *rest in given}, {name: rest for name, *rest in expected}
    odd = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    shown = [f"{short(name)!r} is {_shown(theirs.get(name))}, expected {_shown(ours.get(name))}" for name in odd[:3]]
    more = f", and {len(odd) - 3} more" if len(odd) > 3 else ""
    return f"other arrays than the other clients return: {', '.join(shown)}{more}"


def _shown(kind: Sequence[object] | None) -> str:
    return "missing" if kind is None else f"{kind[0]} {kind[1]}"
