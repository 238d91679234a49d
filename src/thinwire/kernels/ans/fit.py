"""From counts to tables: which levels cost the fewest bits, themselves included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans.alphabet import DIRECT, Alphabet, alphabet, merged
from thinwire.kernels.ans.tables import OCTAVES, ONE, Ints, Walks, chance

LEVEL_BITS = 4
"""What a level takes in the head, about."""
_FINENESS = range(1, 5)
_PER_LEVEL = 1300
"""Decisions a level from which a finer one pays: it saves 0.0008 bits each at the coarsest scale, a quarter at each."""

Floats = NDArray[np.float64]


def entropies(counts: Ints) -> Floats:
    """Return the bits of every row of counts (..., symbols), coded at its own entropy."""
    each = counts * np.log2(np.maximum(counts, 1))
    total = counts.sum(-1)
    return np.asarray(total * np.log2(np.maximum(total, 1)) - each.sum(-1))


def direct(counts: Ints) -> Alphabet:
    """Return the alphabet that suits counts of the tokens of the finest one: most direct tokens cost more levels."""
    # With as many direct tokens as there are magnitudes, more of them change nothing.
    enough = next((bits for bits in DIRECT if not counts[1 << bits :].any()), DIRECT[-1])
    options = [alphabet(bits) for bits in range(DIRECT[0], enough + 1)]
    if len(options) == 1:
        return options[0]
    some = [merged(counts, alphabet(max(DIRECT)), option) for option in options]
    rows = np.zeros((len(some), len(some[-1])), np.int64)
    for row, coarse in zip(rows, some, strict=True):
        row[: coarse.size] = coarse
    level_bits = LEVEL_BITS * fit(rows, 4).explicit
    extra = [float(entropies(coarse)) + int(coarse @ option.extra[: coarse.size])
             for coarse, option in zip(some, options, strict=True)]  # fmt: skip
    return options[int(np.argmin(level_bits + extra))]


def fineness(counts: Ints) -> int:
    """Return how fine levels should be for counts (k, tokens)."""
    decisions = float(counts.sum()) / max(1, 4 * len(counts))
    return max((f for f in _FINENESS if decisions >= _PER_LEVEL * 4.0 ** (f - 2)), default=1)


def fit(counts: Ints, fine: int) -> Walks:
    """Return the tables that code counts (k, tokens) of magnitude tokens in the fewest bits."""
    sizes = counts.shape[1] - np.argmax(counts[:, ::-1] > 0, axis=1)
    sizes = np.where(counts.any(1), sizes, 1)
    walked = np.arange(max(int(sizes.max()) - 1, 0)) < sizes[:, None] - 1
    width = walked.shape[1]
    reached = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    stops = np.where(walked, counts[:, :width], 0)
    goes = np.where(walked, reached[:, 1 : width + 1], 0)
    own = levels(stops, goes, fine)
    tail_stops, tail_goes = (np.cumsum(x[:, ::-1], axis=1)[:, ::-1] for x in (stops, goes))
    tails = levels(tail_stops, tail_goes, fine)
    spent = np.cumsum(cost(stops, goes, own, fine), axis=1)
    totals = spent - cost(stops, goes, own, fine) + cost(tail_stops, tail_goes, tails, fine)
    totals = np.where(walked, totals + LEVEL_BITS * np.arange(width), np.inf)
    explicit = np.argmin(totals, axis=1) if width else np.zeros(len(counts), np.int64)
    chosen = np.where(np.arange(width) < explicit[:, None], own, _at(tails, explicit)[:, None])
    return Walks(fine, sizes, np.where(sizes > 1, explicit + 1, 0), np.where(walked[:, :1], chosen, 0))


def levels(stops: Ints, goes: Ints, fine: int) -> Ints:
    """Return the level nearest to odds of ``stops`` to ``goes``; never certainty."""
    most = (OCTAVES << fine) - 1
    exact = np.log2((stops + 0.4) / (goes + 0.4)) * (1 << fine)
    return np.asarray(np.clip(np.rint(exact), -most, most), np.int64)


def cost(stops: Ints, goes: Ints, level: Ints, fine: int) -> Floats:
    """Return the bits of that many decisions either way at a level."""
    p = np.clip(chance(level, fine) / ONE, 1e-5, 1 - 1e-5)
    return np.asarray(-(stops * np.log2(p) + goes * np.log2(1 - p)))


def _at(values: Ints, column: Ints) -> Ints:
    return values[np.arange(len(values)), column] if values.shape[1] else np.zeros(len(values), np.int64)
