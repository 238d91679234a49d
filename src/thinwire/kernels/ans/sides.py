"""Classes of rows and columns as two small blocks: magnitude classes, and phases of what is not dead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import WireError
from thinwire.kernels.ans import blocks, fit
from thinwire.kernels.ans.bits import Bytes, Reader, Writer
from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.contexts import CLASSES, NO_PHASE, PHASE_SHIFT, PHASES, Grid
from thinwire.kernels.ans.head import read_walks, write_walks
from thinwire.kernels.ans.models import one_sided
from thinwire.kernels.ans.tables import Ints, Walks

_DIRECT = 4
_FEW = 2 * CLASSES
"""Their tables are small enough for any tensor: as if for so many symbols."""
_LENGTH_ORDER = 6
_MOST_BYTES = 1 << 34
_KEY = 1 + (NO_PHASE << PHASE_SHIFT)


@dataclass(frozen=True, eq=False)
class Part:
    """One of the two blocks: which of rows and columns are in it, their tables, and its bytes."""

    flags: tuple[bool, ...]
    walks: Walks | None
    size_bytes: int

    def values(self, data: Bytes, sizes: tuple[int, int], most: int) -> tuple[Ints, Ints]:
        """Return the numbers of rows and of columns, 0 to ``most``; 1 for those that did not travel."""
        wanted = [size for size, flag in zip(sizes, self.flags, strict=True) if flag]
        if self.walks is None:
            return np.ones(sizes[0], np.int64), np.ones(sizes[1], np.int64)
        found = blocks.read(data, _grid(wanted), one_sided(self.walks, _DIRECT)).astype(np.int64)
        if found.size and int(found.max()) > most:
            raise WireError(f"ans: a class of {int(found.max())}, expected at most {most}")
        pieces = iter(np.split(found, np.cumsum(wanted)[:-1]))
        rows, cols = (next(pieces) if flag else np.ones(size, np.int64)
                      for size, flag in zip(sizes, self.flags, strict=True))  # fmt: skip
        return rows, cols


def write(out: Writer, classes: Classes) -> bytes:
    """Append to the head which classes travel and how; return the blocks that hold them."""
    signs = [_folded(classes.row_phases[classes.rows > 0]), _folded(classes.col_phases[classes.cols > 0])]
    return _write(out, [classes.rows, classes.cols], 1) + _write(out, signs, _folded(np.ones(1, np.int64))[0])


def read(taken: Reader) -> tuple[Part, Part]:
    """Return the two parts that a head tells of."""
    return _read(taken), _read(taken)


def any_sent(parts: tuple[Part, Part]) -> bool:
    """Return if any class travels."""
    return any(part.walks is not None for part in parts)


def classes(parts: tuple[Part, Part], data: tuple[Bytes, Bytes], rows: int, cols: int) -> Classes:
    """Return the classes in two blocks."""
    magnitudes = parts[0].values(data[0], (rows, cols), CLASSES - 1)
    live = tuple(int(np.count_nonzero(x)) for x in magnitudes)
    folded = parts[1].values(data[1], (live[0], live[1]), 2 * PHASES)
    signs = []
    for own, some, flag in zip(magnitudes, folded, parts[1].flags, strict=True):
        every = np.ones_like(own)
        every[own > 0] = _unfolded(some) if flag else 1
        signs.append(every)
    return Classes(*magnitudes, *signs)


def _write(out: Writer, arrays: list[Ints], usual: int) -> bytes:
    flags = [bool((array != usual).any()) for array in arrays]
    for flag in flags:
        out.bits(flag, 1)
    some = [array for array, flag in zip(arrays, flags, strict=True) if flag]
    if not some:
        return b""
    counts = np.stack([np.bincount(array, minlength=CLASSES) for array in some])
    walks = fit.fit(counts, fit.fineness(counts))
    write_walks(out, walks)
    values = np.concatenate(some).astype(np.int32)
    block = blocks.write(values, _grid([array.size for array in some]), one_sided(walks, _DIRECT))
    out.golomb(len(block), _LENGTH_ORDER)
    return block


def _read(taken: Reader) -> Part:
    flags = taken.flags(2)
    if not any(flags):
        return Part(flags, None, 0)
    walks = read_walks(taken, sum(flags), CLASSES, _FEW)
    return Part(flags, walks, taken.golomb(_LENGTH_ORDER, _MOST_BYTES))


def _grid(sizes: list[int]) -> Grid:
    """Return one row whose columns have the class of the array that they are of, from 1 on."""
    columns = np.repeat(np.arange(len(sizes)), sizes) + _KEY
    return Grid(columns.size, columns.size, np.array([_KEY], np.uint16), columns.astype(np.uint16))


def _folded(signed: NDArray[np.int64]) -> Ints:
    return np.where(signed < 0, -2 * signed - 1, 2 * signed)


def _unfolded(numbers: Ints) -> Ints:
    return np.where(numbers % 2 == 1, -(numbers + 1) // 2, numbers // 2)
