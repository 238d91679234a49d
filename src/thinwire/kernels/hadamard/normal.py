"""The best levels for a normal distribution, as integers, and where each one begins.

Lloyd 1957 and Max 1960, "Quantizing for minimum distortion": every level is the mean of its part of N(0, 1), every
threshold is half way between two levels. Part of the wire format: they never change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

UNIT = 1 << 15
"""Integer levels are this many to one standard deviation."""
MOST_BITS = 8
CELLS, CELLS_TO_ONE = 1024, 64
"""A grid over -8 to 8 standard deviations. No cell holds two thresholds: those of 8 bits are 1/59 apart."""
WIDTH = 1 << MOST_BITS

# The positive levels of 1 to 8 bits; the others mirror them.
# fmt: off
_POSITIVE = (
    (26145,),
    (14837, 49493,),
    (8031, 24773, 44037, 70515,),
    (4207, 12716, 21521, 30879, 41164, 53020, 67798, 89541,),
    (
        2159, 6490, 10859, 15293, 19822, 24482, 29313, 34367, 39708, 45428, 51650, 58564, 66477, 75948, 88183,
        106848,
    ),
    (
        1095, 3286, 5482, 7686, 9902, 12133, 14384, 16656, 18956, 21288, 23656, 26066, 28524, 31036, 33611, 36257,
        38985, 41805, 44733, 47785, 50981, 54349, 57919, 61734, 65851, 70347, 75333, 80980, 87565, 95598, 106183,
        122687,
    ),
    (
        551, 1654, 2758, 3863, 4969, 6077, 7188, 8301, 9417, 10537, 11661, 12790, 13924, 15063, 16209, 17361, 18520,
        19687, 20863, 22047, 23242, 24446, 25662, 26890, 28130, 29384, 30652, 31936, 33236, 34555, 35892, 37249,
        38628, 40030, 41457, 42911, 44393, 45906, 47453, 49036, 50657, 52322, 54032, 55793, 57610, 59487, 61432,
        63452, 65556, 67753, 70058, 72484, 75050, 77779, 80701, 83855, 87290, 91079, 95324, 100180, 105904, 112965,
        122386, 137288,
    ),
    (
        277, 830, 1384, 1938, 2492, 3046, 3600, 4155, 4710, 5266, 5822, 6379, 6936, 7494, 8053, 8613, 9173, 9734,
        10296, 10860, 11424, 11989, 12556, 13124, 13693, 14264, 14836, 15409, 15984, 16561, 17140, 17720, 18302,
        18886, 19472, 20060, 20650, 21243, 21838, 22435, 23035, 23637, 24242, 24850, 25461, 26074, 26691, 27311,
        27934, 28561, 29191, 29824, 30462, 31103, 31748, 32397, 33051, 33709, 34372, 35039, 35711, 36388, 37071,
        37759, 38452, 39151, 39857, 40568, 41286, 42011, 42742, 43481, 44227, 44981, 45742, 46513, 47291, 48079,
        48876, 49683, 50500, 51328, 52167, 53017, 53880, 54755, 55643, 56545, 57462, 58393, 59341, 60306, 61288,
        62290, 63311, 64352, 65416, 66504, 67616, 68755, 69923, 71121, 72351, 73616, 74919, 76263, 77651, 79087,
        80575, 82121, 83731, 85410, 87169, 89015, 90960, 93018, 95207, 97546, 100065, 102798, 105791, 109112,
        112855, 117165, 122279, 128635, 137186, 150849,
    ),
)
# fmt: on


def levels(bits: int) -> NDArray[np.int32]:
    """Return the 2**bits levels (int32, ascending) of 0 to 8 bits; with no bit there is one, zero."""
    half = np.array(_POSITIVE[bits - 1] if bits else (), np.int32)
    return np.concatenate([-half[::-1], half]) if bits else np.zeros(1, np.int32)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Two quantizers: coarse ones of ``bits`` bits in the first half of every array, those of one bit more behind."""

    integers: NDArray[np.int32]
    """(2 * WIDTH,) levels by code."""
    floats: NDArray[np.float32]
    """(2 * WIDTH,) the same in standard deviations."""
    ends: NDArray[np.float32]
    """(2 * WIDTH,) where the next code begins; infinity for the last."""
    starts: NDArray[np.int32]
    """(2 * CELLS,) place in the other arrays of the code at the lower end of every cell."""


@cache
def codebook(bits: int) -> Codebook:
    """Return the quantizers of ``bits`` (0 to 8) and ``bits + 1``; of 8 the finer one is the same."""
    both = [levels(min(b, MOST_BITS)) for b in (bits, bits + 1)]
    scaled = [integers / UNIT for integers in both]
    thresholds = [((low[1:] + low[:-1]) / 2).astype(np.float32) for low in scaled]
    cells = (np.arange(CELLS) / CELLS_TO_ONE - CELLS / CELLS_TO_ONE / 2).astype(np.float32)
    return Codebook(
        np.concatenate([_filled(integers, 0) for integers in both]).astype(np.int32),
        np.concatenate([_filled(floats, 0) for floats in scaled]).astype(np.float32),
        np.concatenate([_filled(ends, np.inf) for ends in thresholds]).astype(np.float32),
        np.concatenate(
            [half * WIDTH + np.searchsorted(ends, cells, side="right") for half, ends in enumerate(thresholds)]
        ).astype(np.int32),
    )


def _filled(row: NDArray[np.generic], value: float) -> NDArray[np.float64]:
    return np.concatenate([row, np.full(WIDTH - len(row), value)])
