"""Symbols of any int32 as tokens of a small alphabet, and raw bits.

Magnitudes below ``2**direct`` have a token each. Above, every power of two is cut into four equal tokens, and the rest
of the magnitude is raw bits: neighbours are about equally likely there. Signs belong to the token: token 0 is zero,
2t - 1 the negative and 2t the positive values of magnitude token t.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIRECT = range(4, 9)
"""Choices of ``direct``: 16 to 256 magnitudes with a token of their own."""
TOP = 31
PARTS_BITS = 2
"""The highest power of two, and how many bits of a magnitude behind its first one its token tells."""
LOOKUP = 1 << 12
"""Magnitudes below this find their token in ``Alphabet.tokens``."""

Values = NDArray[np.int32]
Symbols = NDArray[np.signedinteger[Any]]
"""What is coded: int16 or int32."""


@dataclass(frozen=True, eq=False)
class Alphabet:
    """The magnitude tokens of one ``direct``.

    ``base`` is each token's least magnitude, ``extra`` its number of raw bits (int64, one a token), ``tokens`` the
    token of every magnitude below LOOKUP (uint16).
    """

    direct: int
    base: NDArray[np.int64]
    extra: NDArray[np.int64]
    tokens: NDArray[np.uint16]


@cache
def alphabet(direct: int) -> Alphabet:
    """Return the alphabet with ``2**direct`` direct magnitudes; it reaches up to ``2**32 - 1``."""
    octaves = np.repeat(np.arange(direct, TOP + 1), 1 << PARTS_BITS)
    part = np.tile(np.arange(1 << PARTS_BITS), TOP + 1 - direct)
    extra = octaves - PARTS_BITS
    base = np.concatenate([np.arange(1 << direct), (1 << octaves) + (part << extra)])
    tokens = np.searchsorted(base, np.arange(LOOKUP), side="right") - 1
    return Alphabet(direct, base, np.concatenate([np.zeros(1 << direct, np.int64), extra]), tokens.astype(np.uint16))


def merged(counts: NDArray[np.int64], fine: Alphabet, coarse: Alphabet) -> NDArray[np.int64]:
    """Return counts (..., tokens) of the coarser alphabet, from those of one with more direct magnitudes."""
    into = np.searchsorted(coarse.base, fine.base[: counts.shape[-1]], side="right") - 1
    starts = np.flatnonzero(np.diff(into, prepend=-1))
    return np.add.reduceat(counts, starts, axis=-1) if counts.shape[-1] else counts
