"""Which elements travel together: both ends cut the same entries in the same way, so that no frame says where it goes.

A piece is a tensor, or a range of rows of a large one; a group is the pieces of one frame. Neither is ever larger than
the slice, which is what bounds the memory at both ends.
"""

from __future__ import annotations

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

    @property
    def spec(self) -> Spec:
        """Shape and carrier of this piece."""
        return Spec(self.shape, self.entry.spec.dtype)

    @property
    def ends(self) -> bool:
        """Whether it is the last of its tensor."""
        return self.start + self.spec.numel == self.entry.spec.numel


def cut(entry: Entry, most: int) -> Iterator[Piece]:
    """Yield the pieces of one tensor: whole rows, or plain ranges where a row alone is larger than ``most``."""
    shape, count = entry.spec.shape, entry.spec.numel
    if count <= most:
        yield Piece(entry, 0, shape)
        return
    row = count // shape[0]
    width, rest = (row, shape[1:]) if row <= most else (1, ())
    rows = most // width
    for start in range(0, count, rows * width):
        yield Piece(entry, start, (min(rows, (count - start) // width), *rest))


def groups(entries: Iterable[Entry], most: int) -> Iterator[tuple[Piece, ...]]:
    """Yield the pieces of each frame. Two pieces of one tensor never meet in one: together they are above ``most``."""
    group: list[Piece] = []
    elements = 0
    for piece in (piece for entry in entries for piece in cut(entry, most)):
        if group and (elements + piece.spec.numel > most or len(group) == _MOST_PIECES):
            yield tuple(group)
            group, elements = [], 0
        group.append(piece)
        elements += piece.spec.numel
    if group:
        yield tuple(group)
