"""One block of symbols as bytes: the states to start from, four bytes each, and the words, two bytes each."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from thinwire.errors import WireError
from thinwire.kernels.ans import counting, reference
from thinwire.kernels.ans.alphabet import Symbols, Values
from thinwire.kernels.ans.bits import Bytes
from thinwire.kernels.ans.contexts import Coder, Grid
from thinwire.kernels.ans.reference import LOWEST

_WORTH_COMPILING = 1 << 8
_WORTH_LANES = 1 << 12
_LANES = 4


def loops(count: int, plain: ModuleType) -> ModuleType:
    """Return the compiled loops where so many symbols are worth it, else the ``plain`` ones."""
    if count < _WORTH_COMPILING:
        return plain
    from thinwire.kernels.ans import cpu

    return cpu


def fitting_loops(count: int) -> ModuleType:
    """Return the module whose ``tally`` and ``refine`` suit so many symbols."""
    return loops(count, counting)


def write(values: Symbols, grid: Grid, coder: Coder) -> bytes:
    """Return the symbols of a grid as bytes: none where all rows or all columns are dead."""
    if not grid.most:
        return b""
    states, words = loops(grid.most, reference).encode(values, grid, coder, _lanes(grid))
    return b"".join((states.astype("<u4").data, words.astype("<u2", copy=False).data))


def read(data: Bytes, grid: Grid, coder: Coder) -> Values:
    """Return the symbols of a grid. Raises WireError where the bytes cannot be what an encoder made."""
    if not grid.most:
        if data:
            raise WireError(f"ans: {len(data)} bytes for a block of zeros")
        return np.zeros(grid.count, np.int32)
    head = 4 * _lanes(grid)
    if len(data) < head or (len(data) - head) % 2:
        raise WireError(f"ans: a block of {len(data)} bytes, expected {head} and some of two")
    states = np.frombuffer(data, "<u4", head // 4)
    words = np.frombuffer(data, "<u2", offset=head).astype(np.uint16, copy=False)
    if int(states.min()) < LOWEST:
        raise WireError("ans: a state is too small")
    found = loops(grid.most, reference).decode(states.astype(np.uint64), words, grid, coder)
    values, last, used, overflow = found
    if used != words.size or bool((last != LOWEST).any()) or overflow:
        raise WireError("ans: a block does not end where its encoder began")
    return values  # type: ignore[no-any-return]


def _lanes(grid: Grid) -> int:
    return _LANES if grid.most >= _WORTH_LANES else 1
