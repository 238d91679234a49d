"""The pieces of a checkpoint as a goal may look at them, in the order of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from thinwire.checkpoint.entries import Entry
from thinwire.checkpoint.pieces import Piece, cut, groups
from thinwire.checkpoint.progress import OnBytes
from thinwire.checkpoint.sent import Given
from thinwire.checkpoint.source import Checkpoint
from thinwire.errors import CheckpointError, quoted

_NAMED = 3


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
        base = self.base.read(piece) if self.base and piece.based else None
        return Given(piece, self.source.read(piece), base, self.seed)


def against(source: Checkpoint, base: Checkpoint | None) -> tuple[Entry, ...]:
    """Return the entries of a checkpoint, those marked that the base has too. Raises CheckpointError if it has none.

    Of a tensor with more or fewer rows than the base's, as an embedding has whose vocabulary grew, the rows that both
    have are marked.
    """
    if base is None:
        return source.entries
    theirs: Mapping[str, Entry] = {entry.name: entry for entry in base.entries}
    marked = tuple(_marked(entry, theirs.get(entry.name)) for entry in source.entries)
    if source.entries and not any(entry.based for entry in marked):
        raise CheckpointError(
            f"{base.path} has no tensor of a name, shape and dtype of {source.path}; give the base that it was trained "
            "from, or pack without a base"
        )
    return marked


def unlike(entries: tuple[Entry, ...], base: Checkpoint | None) -> tuple[str, ...]:
    """Return what a base does not have, a sentence for each way in which it does not."""
    if base is None:
        return ()
    theirs = {entry.name for entry in base.entries}
    new = [entry for entry in entries if not entry.based]
    return (
        *_note("have other rows than in the base: those that both have are differences", entries, lambda e: e.overlap),
        *_note("have another shape or dtype than in the base and travel whole", new, lambda e: e.name in theirs),
        *_note("are not in the base and travel whole", new, lambda e: e.name not in theirs),
    )


def same_rows(entry: Entry, other: Entry) -> bool:
    """Say whether two tensors are of one dtype and, the first side aside, of one shape."""
    mine, theirs = entry.shape, other.shape
    if entry.dtype != other.dtype or entry.said_shape is not None:
        return (entry.dtype, mine, entry.spec) == (other.dtype, theirs, other.spec)
    return mine == theirs or bool(mine and theirs and mine[1:] == theirs[1:])


def _marked(entry: Entry, other: Entry | None) -> Entry:
    if other is None or not same_rows(entry, other):
        return entry
    common = min(entry.spec.numel, other.spec.numel)
    if common == entry.spec.numel:
        return replace(entry, based=True)
    return replace(entry, based=True, overlap=common) if common else entry


def _note(text: str, entries: Iterable[Entry], wanted: Callable[[Entry], object]) -> tuple[str, ...]:
    names = [entry.name for entry in entries if wanted(entry)]
    if not names:
        return ()
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return (f"{len(names):,} tensors {text}: {', '.join(map(quoted, names[:_NAMED]))}{more}",)
