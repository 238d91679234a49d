"""Which elements travel together: both ends cut the same entries in the same way, so that no frame says where it goes.

A piece is a tensor, or a range of rows of a large one, or of one that a base has in part; a group is the pieces of one
frame. Neither is ever larger than the slice, which is what bounds the memory at both ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from thinwire.checkpoint.entries import Entry
from thinwire.codec import Spec

SLICE = 1 << 22
"""Elements that a frame holds at most, as written here: 16 MiB of float32."""
MOST_SLICE = 1 << 24
"""The same, as read."""
_MOST_PIECES = 1024


@dataclass(frozen=True)
class Piece:
    """Consecutive elements of a tensor."""

    entry: Entry
    start: int
    """The first element, in the flat tensor."""
    shape: tuple[int, ...]
    based: bool = False
    """The base has these elements."""

    @property
    def spec(self) -> Spec:
        """Shape and carrier of this piece."""
        return Spec(self.shape, self.entry.spec.dtype)

    @property
    def ends(self) -> bool:
        """Whether it is the last of its tensor, or of what the base has of it."""
        last = self.entry.based_elements if self.based else self.entry.spec.numel
        return self.start + self.spec.numel == last


def cut(entry: Entry, most: int) -> Iterator[Piece]:
    """Yield the pieces of one tensor: whole rows, or plain ranges where a row alone is larger than ``most``."""
    shape = entry.spec.shape
    if entry.overlap is None:
        yield from _cut(entry, 0, shape, most, entry.based)
        return
    row = math.prod(shape[1:])
    known = entry.overlap // row
    yield from _cut(entry, 0, (known, *shape[1:]), most, based=True)
    yield from _cut(entry, entry.overlap, (shape[0] - known, *shape[1:]), most, based=False)


def groups(entries: Iterable[Entry], most: int) -> Iterator[tuple[Piece, ...]]:
    """Yield the pieces of each frame. Two pieces of one tensor never meet in one."""
    group: list[Piece] = []
    elements = 0
    for entry in entries:
        for piece in cut(entry, most):
            count = piece.spec.numel
            again = bool(group) and group[-1].entry is entry
            if group and (elements + count > most or len(group) == _MOST_PIECES or again):
                yield tuple(group)
                group, elements = [], 0
            group.append(piece)
            elements += count
    if group:
        yield tuple(group)


def _cut(entry: Entry, first: int, shape: tuple[int, ...], most: int, based: bool) -> Iterator[Piece]:
    count = math.prod(shape)
    if count <= most:
        yield Piece(entry, first, shape, based)
        return
    row = count // shape[0]
    width, rest = (row, shape[1:]) if row <= most else (1, ())
    rows = most // width
    for start in range(0, count, rows * width):
        yield Piece(entry, first + start, (min(rows, (count - start) // width), *rest), based)
