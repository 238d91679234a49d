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
from thinwire.kernels.ans.alphabet import Symbols, Values
from thinwire.kernels.ans.bits import Bytes, Reader, Writer
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


def write(values: Symbols, model: Model, try_chunks: bool, mode: bytes = b"") -> bytearray:
    """Return the stream of symbols that a model was built for, behind a mode.

    Blocks may be chunks where those are worth a try.
    """
    out = Writer()
    heads.write(out, model.tables)
    classes = sides.write(out, model.classes)
    # Without classes no width travels: rows are then as wide as the reader takes them to be.
    grid = (model.classes if classes else plain(values.size, plain_width(values.size))).grid(values.size)
    if classes:
        out.golomb(grid.width - 1, _WIDTH_ORDER)
    data, at = bytearray(), 0
    for part in _parts(grid):
        block, chunked = _block(part, values[at : at + part.count], model.coder, try_chunks)
        at += part.count
        out.bits(chunked, 1)
        if at < values.size:
            out.golomb(len(block), _LENGTH_ORDER)
        data += block
    # Bytes that grow in place, and move a little to let the head in, are never there twice.
    data[:0] = mode + out.data() + classes
    return data


def read(data: Bytes, count: int) -> Iterator[Values]:
    """Yield blocks of the ``count`` symbols, at least one, of what ``write`` returned, or raise WireError."""
    taken = Reader(data)
    found = coder(heads.read(taken, count))
    parts = sides.read(taken)
    width = taken.golomb(_WIDTH_ORDER, count - 1) + 1 if sides.any_sent(parts) else plain_width(count)
    rows = -(-count // width)
    before = (rows - 1) // _rows(width)
    marks = [(bool(taken.bits(1)), taken.golomb(_LENGTH_ORDER, _MOST_BYTES) if i < before else None)
             for i in range(before + 1)]  # fmt: skip
    cuts = _Cuts(memoryview(data), taken.whole_bytes())
    classes = sides.classes(parts, (cuts.next(parts[0].size_bytes), cuts.next(parts[1].size_bytes)), rows, width)
    for part, (chunked, size_bytes) in zip(_parts(classes.grid(count)), marks, strict=True):
        piece = cuts.next(size_bytes)
        yield chunks.decode(piece, part.count) if chunked else blocks.read(piece, part, found)


def chunk(values: Symbols) -> bytes:
    """Return the symbols as one chunk."""
    return chunks.encode(values.astype(np.int32, copy=False), _LEVEL)


def plain_width(count: int) -> int:
    """Return how wide rows are that have no classes: they only cut the symbols into blocks."""
    return min(_PLAIN_WIDTH, count)


class _Cuts:
    """Cuts bytes off one after the other."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, at

    def next(self, size_bytes: int | None) -> memoryview:
        """Return the next so many bytes, or all that are left."""
        end = len(self._data) if size_bytes is None else self._at + size_bytes
        if end > len(self._data):
            raise WireError("ans: the blocks are cut short")
        piece = self._data[self._at : end]
        self._at = end
        return piece


def _rows(width: int) -> int:
    return max(1, _BLOCK // width)


def _parts(grid: Grid) -> list[Grid]:
    """Return blocks of whole rows."""
    step, rows = _rows(grid.width), len(grid.rows)
    return [grid.slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def _block(grid: Grid, values: Symbols, found: Coder, try_chunks: bool) -> tuple[bytes, bool]:
    """Return a block, and if it is a chunk: that wins where symbols repeat in ways that no model here sees."""
    block = blocks.write(values, grid, found)
    if not (try_chunks and _may_win(grid, values, found)):
        return block, False
    other = chunk(values)
    return (other, True) if len(other) < len(block) else (block, False)


def _may_win(grid: Grid, values: Symbols, found: Coder) -> bool:
    """Return if some rows are smaller as a chunk, or there are too few to tell."""
    rows = max(1, (_SAMPLE if grid.count < _BLOCK // 2 else _SAMPLE // 4) // grid.width)
    if rows >= len(grid.rows):
        return True
    sample = grid.slice(0, rows)
    some = values[: sample.count]
    return len(chunk(some)) < len(blocks.write(some, sample, found))
