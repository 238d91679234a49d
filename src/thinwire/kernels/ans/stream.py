"""Symbols as a stream and back: head, classes, and blocks of whole rows, each coded with rANS or as a chunk.

``decode`` is safe: what a stream claims is checked against the number of symbols, and every block must end in the
state that its encoder began with, with no word left. rANS itself would accept almost any bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from thinwire.errors import WireError
from thinwire.kernels import chunks
from thinwire.kernels.ans import blocks, sides
from thinwire.kernels.ans import head as heads
from thinwire.kernels.ans.bits import Reader, Writer
from thinwire.kernels.ans.blocks import Values
from thinwire.kernels.ans.classes import plain
from thinwire.kernels.ans.contexts import Coder, Grid
from thinwire.kernels.ans.models import Model, coder

_PLAIN_WIDTH = 1 << 12
_BLOCK = 1 << 20
_SAMPLE = 1 << 14
_LENGTH_ORDER = 14
_WIDTH_ORDER = 6
_MOST_BYTES = 1 << 40
_LEVEL = 1


def write(values: Values, model: Model, try_chunks: bool) -> bytes:
    """Return the stream of symbols that a model was built for; blocks may be chunks where those are worth a try."""
    out = Writer()
    heads.write(out, model.tables)
    classes = sides.write(out, model.classes)
    # Without classes no width travels: rows are then as wide as the reader takes them to be.
    grid = (model.classes if classes else plain(values.size, plain_width(values.size))).grid(values.size)
    if classes:
        out.golomb(grid.width - 1, _WIDTH_ORDER)
    pieces = [_block(part, piece, model.coder, try_chunks) for part, piece in _pieces(values, grid)]
    for i, (piece, chunked) in enumerate(pieces):
        out.bits(chunked, 1)
        if i < len(pieces) - 1:
            out.golomb(len(piece), _LENGTH_ORDER)
    return b"".join([out.data(), classes, *(piece for piece, _ in pieces)])


def read(data: bytes, count: int) -> Values:
    """Return the ``count`` symbols, at least one, of what ``write`` returned, or raise WireError."""
    taken = Reader(data)
    found = coder(heads.read(taken))
    parts = sides.read(taken)
    width = taken.golomb(_WIDTH_ORDER, count - 1) + 1 if sides.any_sent(parts) else plain_width(count)
    rows = -(-count // width)
    before = (rows - 1) // _rows(width)
    marks = [(bool(taken.bits(1)), taken.golomb(_LENGTH_ORDER, _MOST_BYTES) if i < before else None)
             for i in range(before + 1)]  # fmt: skip
    cuts = _Cuts(data, taken.whole_bytes())
    classes = sides.classes(parts, (cuts.next(parts[0].size_bytes), cuts.next(parts[1].size_bytes)), rows, width)
    out = np.empty(count, np.int32)
    for (part, into), (chunked, size_bytes) in zip(_pieces(out, classes.grid(count)), marks, strict=True):
        piece = cuts.next(size_bytes)
        into[:] = chunks.decode(piece, part.count) if chunked else blocks.read(piece, part, found)
    return out


def plain_width(count: int) -> int:
    """Return how wide rows are that have no classes: they only cut the symbols into blocks."""
    return min(_PLAIN_WIDTH, count)


class _Cuts:
    """Cuts bytes off one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def next(self, size_bytes: int | None) -> bytes:
        """Return the next so many bytes, or all that are left."""
        end = len(self._data) if size_bytes is None else self._at + size_bytes
        if end > len(self._data):
            raise WireError("ans: the blocks are cut short")
        piece = self._data[self._at : end]
        self._at = end
        return piece


def _rows(width: int) -> int:
    return max(1, _BLOCK // width)


def _pieces(values: Values, grid: Grid) -> Iterator[tuple[Grid, Values]]:
    """Yield blocks of whole rows."""
    step = _rows(grid.width)
    for first in range(0, len(grid.rows), step):
        part = grid.slice(first, min(first + step, len(grid.rows)))
        yield part, values[first * grid.width : first * grid.width + part.count]


def _block(grid: Grid, values: Values, found: Coder, try_chunks: bool) -> tuple[bytes, bool]:
    """Return a block, and if it is a chunk: that wins where symbols repeat in ways that no model here sees."""
    block = blocks.write(values, grid, found)
    if not (try_chunks and _may_win(grid, values, found)):
        return block, False
    other = chunks.encode(values, _LEVEL)
    return (other, True) if len(other) < len(block) else (block, False)


def _may_win(grid: Grid, values: Values, found: Coder) -> bool:
    """Return if some rows are smaller as a chunk, or there are too few to tell."""
    rows = max(1, (_SAMPLE if grid.count < _BLOCK // 2 else _SAMPLE // 4) // grid.width)
    if rows >= len(grid.rows):
        return True
    sample = grid.slice(0, rows)
    some = values[: sample.count]
    return len(chunks.encode(some, _LEVEL)) < len(blocks.write(some, sample, found))
