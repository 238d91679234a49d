"""The pieces of a checkpoint as a goal may look at them, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from thinwire.checkpoint.entries import Entry
from thinwire.checkpoint.pieces import Piece, cut, groups
from thinwire.checkpoint.progress import OnBytes
from thinwire.checkpoint.sent import Given
from thinwire.checkpoint.source import Checkpoint
from thinwire.errors import CheckpointError


@dataclass(frozen=True)
class Survey:
    """What is to be packed, piece by piece."""

    source: Checkpoint
    base: Checkpoint | None
    entries: tuple[Entry, ...]
    slice_elements: int
    seed: int
    on_bytes: OnBytes

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, dense."""
        return self.source.nbytes

    def groups(self) -> Iterator[tuple[Piece, ...]]:
        """Yield the pieces of each frame."""
        return groups(self.entries, self.slice_elements)

    def pieces_of(self, entry: Entry) -> Iterator[Piece]:
        """Yield the pieces of one tensor."""
        return cut(entry, self.slice_elements)

    def given(self, piece: Piece) -> Given:
        """Return a piece as it lies in the checkpoint, and in the base where that has it."""
        base = self.base.read(piece) if self.base and piece.entry.based else None
        return Given(piece, self.source.read(piece), base, self.seed)


def against(source: Checkpoint, base: Checkpoint | None) -> tuple[Entry, ...]:
    """Return the entries of a checkpoint, those marked that the base has too. Raises CheckpointError if it has none."""
    if base is None:
        return source.entries
    theirs: Mapping[str, Entry] = {entry.name: entry for entry in base.entries}
    marked = tuple(replace(entry, based=theirs.get(entry.name) == entry) for entry in source.entries)
    if source.entries and not any(entry.based for entry in marked):
        raise CheckpointError(
            f"{base.path} has no tensor of a name, shape and dtype of {source.path}; give the base that it was trained "
            "from, or pack without a base"
        )
    return marked
