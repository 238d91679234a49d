"""Replies that no strategy could aggregate are found before it tries: who answers otherwise than its peers is refused.

Clients may well answer with other arrays than they were sent (personal heads stay at home, tree ensembles grow, a
second record comes along). What they must not do is differ from each other, which stops a whole run in a strategy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thinwire.errors import WireError
from thinwire.flower.names import answering, record_of, short
from thinwire.flower.records import Arrays, kind_and_shape

_BYTES = "bytes"
_ENOUGH = 3
"""Lone replies like their message, and none unlike, after which one unlike is refused."""
Entries = tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Layout:
    """What replies to one message have in common."""

    arrays: Entries
    """Name, kind of number and shape of every array, by name."""
    records: tuple[str, ...]
    """In which records they are."""


def layout_of(arrays: Arrays, names: Mapping[str, str]) -> Layout:
    """Return the layout of a reply; ``names``: what an array is called in the message that it answers."""
    seen = {name: (_kind(x), tuple(x.shape)) for name, x in arrays.tensors.items()}
    seen |= {name: kind_and_shape(array) for name, array in arrays.others.items()}
    entries = [(names.get(name, name), kind, shape) for name, (kind, shape) in seen.items()]
    return Layout(tuple(sorted(entries)), tuple(sorted({record_of(name) for name in seen})))


def layout_of_answer(arrays: Arrays) -> Layout:
    """Return the layout of replies that give a new value to each array of a message."""
    layout = layout_of(arrays, {})
    return replace(layout, records=tuple(sorted({answering(record) for record in layout.records})))


def _kind(x: Tensor) -> str:
    if x.dtype == torch.uint8 and x.dim() == 1:
        return _BYTES
    return "floats" if x.dtype.is_floating_point else "integers"


def _any_length(layout: Layout) -> Layout:
    """Return a layout whose bytes may be of any number: tree ensembles grow."""
    arrays = ((name, kind, (-1,) if kind == _BYTES else shape) for name, kind, shape in layout.arrays)
    return replace(layout, arrays=tuple(arrays))


class Consistency:
    """Compares the replies to one model with each other, and a lone reply with those before it.

    Where most are like the message, or like each other, the few that differ are refused; where many differ they do so
    by design (slices of a model, say), and all are fine.
    """

    def __init__(self) -> None:
        self._usual: dict[tuple[str, Layout], Layout] = {}
        self._seen: dict[tuple[str, Layout], Counter[bool]] = {}
        """By kind of message and its layout: how many lone replies were like it, and how many were not."""

    def check(self, kind: str, replies: Mapping[int, Layout], sent: Layout) -> dict[int, WireError]:
        """Return the replies, by any number, that cannot be aggregated with the others, each with what differs.

        ``sent``: ``layout_of_answer`` of the message.
        """
        exact = sum(layout.arrays == sent.arrays for layout in replies.values())
        if len(replies) == 1 or 2 * exact <= len(replies):
            replies, sent = {key: _any_length(layout) for key, layout in replies.items()}, _any_length(sent)
        if len(replies) == 1:
            return self._check_lone(kind, *next(iter(replies.items())), sent)
        counts, usual = Counter(replies.values()), self._usual.get((kind, sent))
        alike = Counter({layout: count for layout, count in counts.items() if layout.arrays == sent.arrays})
        if 2 * alike.total() >= len(replies):
            chosen = self._most(alike, sent, usual)
            fine = {chosen}
        else:
            chosen = self._most(counts, sent, usual)
            fine = {chosen, *alike}
            if 3 * counts[chosen] <= 2 * len(replies):
                return {}
        self._usual[kind, sent] = chosen
        return {key: WireError(_difference(layout, chosen)) for key, layout in replies.items() if layout not in fine}

    def _check_lone(self, kind: str, key: int, layout: Layout, sent: Layout) -> dict[int, WireError]:
        seen, usual = self._seen.setdefault((kind, sent), Counter()), self._usual.setdefault((kind, sent), layout)
        if layout != usual and not seen[False] and seen[True] >= _ENOUGH:
            return {key: WireError(_difference(layout, usual))}
        seen[layout.arrays == sent.arrays] += 1
        return {}

    def _most(self, counts: Counter[Layout], sent: Layout, usual: Layout | None) -> Layout:
        return max(counts, key=lambda each: (counts[each], each.arrays == sent.arrays, each == usual, each == sent))


def _difference(given: Layout, expected: Layout) -> str:
    theirs, ours = ({name: rest for name, *rest in layout.arrays} for layout in (given, expected))
    odd = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    shown = [f"{short(name)!r} is {_shown(theirs.get(name))}, expected {_shown(ours.get(name))}" for name in odd[:3]]
    more = f", and {len(odd) - 3} more" if len(odd) > 3 else ""
    shown = shown or [f"they are in records {given.records}, expected {expected.records}"]
    return f"other arrays than the other clients return: {', '.join(shown)}{more}"


def _shown(kind: Sequence[object] | None) -> str:
    return "missing" if kind is None else f"{kind[0]} {kind[1]}"
