"""Integer frequency tables from a few small integers, the same on every machine.

A magnitude is a walk: stop at token 0, or go on and stop at 1, or go on ... The chance to stop is a level on a
logarithmic scale of odds, ``2**(level / 2**fineness)`` to one. A table is the levels of the first tokens; the last one
holds for all that follow, so that a geometric tail costs one level. Frequencies sum to ``1 << BITS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

BITS = 14
TOTAL = 1 << BITS
ONE = 1 << 16
BINS = 3
"""Magnitude tokens 1, 2 and all above have chances of their own to have the expected sign."""
OCTAVES = 16
"""Odds are between ``2**-OCTAVES`` and ``2**OCTAVES`` to one."""
# 2**(i / 16) in units of 2**-16: numbers and no formula, so that no machine rounds another way.
_POWERS = np.array(
    [65536, 68438, 71468, 74632, 77936, 81386, 84990, 88752,
     92682, 96785, 101070, 105545, 110218, 115098, 120194, 125515]
)  # fmt: skip

Ints = NDArray[np.int64]


def chance(levels: Ints, fineness: int) -> Ints:
    """Return the chance, in units of ``1 / ONE``, of odds ``2**(level / 2**fineness)``; fineness is 1 to 4.

    The highest level is certainty.
    """
    sixteenths = np.asarray(levels, np.int64) << 4 - fineness
    octave = sixteenths >> 4
    ahead = _POWERS[sixteenths & 15] << np.maximum(octave, 0)
    behind = np.int64(ONE) << np.maximum(-octave, 0)
    return np.where(levels == OCTAVES << fineness, ONE, ahead * ONE // (ahead + behind))


@dataclass(frozen=True, eq=False)
class Walks:
    """Levels of several tables: ``sizes`` tokens each, the first ``explicit`` levels (k, most) and then the last one.

    Rows of ``levels`` are filled up with their last level; a table of one token has none.
    """

    fineness: int
    sizes: Ints
    explicit: Ints
    levels: Ints

    @cached_property
    def frequencies(self) -> Ints:
        """Frequencies (k, most tokens) of the magnitudes: each at least 2 (zero: 1), 0 beyond the size."""
        chances = chance(self.levels, self.fineness).tolist()
        out = np.zeros((len(self.sizes), int(self.sizes.max())), np.int64)
        for table, (size, explicit) in enumerate(zip(self.sizes.tolist(), self.explicit.tolist(), strict=True)):
            out[table, :size] = _walked(size, chances[table][:explicit])
        return out


def _walked(size: int, chances: list[int]) -> list[int]:
    """Return the frequencies of one table: a loop over integers, as every step needs what the one before left."""
    held: list[int] = []
    rest = TOTAL
    for token in range(size - 1):
        least = 2 * (size - 1 - token)
        stopped = rest * chances[min(token, len(chances) - 1)] // ONE
        held.append(min(max(stopped, 1 + (token > 0)), rest - least))
        rest -= held[-1]
        if held[-1] == 2 and token >= len(chances) - 1:
            # The chance stays and the rest shrinks: so do all that follow but the last.
            held += [2] * (size - 2 - token)
            rest -= least - 2
            break
    return [*held, rest]


def with_signs(frequencies: Ints, agree: Ints) -> Ints:
    """Return frequencies (k * s, 2 * tokens - 1) of the signed tokens.

    ``agree`` (s, BINS) is the chance of the expected sign in units of ``1 / ONE``; ONE itself leaves the other sign
    none, anything else leaves it at least 1.
    """
    bins = np.minimum(np.arange(1, frequencies.shape[1]), BINS) - 1
    split = frequencies[:, None, 1:]
    chances = agree[None][:, :, bins]
    expected = (split * chances + ONE // 2) // ONE
    expected = np.where(chances == ONE, split, np.clip(expected, np.minimum(split, 1), np.maximum(split - 1, 0)))
    both = np.stack([split - expected, expected], -1).reshape(len(frequencies) * len(agree), 2 * bins.size)
    zero = np.repeat(frequencies[:, :1], len(agree), 0)
    return np.concatenate([zero, both], 1)


def cumulated(frequencies: Ints) -> NDArray[np.uint16]:
    """Return where each signed token's slots start (tables, tokens + 1)."""
    starts = np.zeros((len(frequencies), frequencies.shape[1] + 1), np.uint16)
    np.cumsum(frequencies, axis=1, out=starts[:, 1:])
    return starts


def guide(starts: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """Return the token (tables, 2**bits) of the first slot of every ``2**(BITS - bits)``: where a search begins."""
    width = 1 << BITS - bits
    passed = (starts[:, 1:].astype(np.int64) + width - 1) // width
    places = passed + np.arange(len(starts))[:, None] * ((1 << bits) + 1)
    counts = np.bincount(places.ravel(), minlength=len(starts) * ((1 << bits) + 1))
    return np.cumsum(counts.reshape(len(starts), -1), axis=1)[:, :-1].astype(np.uint16)
