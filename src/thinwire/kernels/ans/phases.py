"""Phases of rows and columns: their angles in the plane of two singular vectors, then what costs the fewest bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinwire.kernels.ans.classes import Classes
from thinwire.kernels.ans.contexts import CLASSES, DEAD, PHASES
from thinwire.kernels.ans.counting import Costs, Question
from thinwire.kernels.ans.fit import entropies
from thinwire.kernels.ans.sample import BIG, LARGE, UNIT, UNSHIFTED, Sample, naming
from thinwire.kernels.ans.tables import BINS, Ints

_POWER_ROUNDS = 5
_SIDE = 512
_CLIP = 3
_RUN = 16
_PRIOR = 8.0
PROMISING, HOPELESS = 0.8, 0.3
"""Shares that phases save at least, once refined and before, if they may pay for themselves in the end."""

Singles = NDArray[np.float32]


def start(sample: Sample, now: Classes) -> Classes:
    """Return the phases of an approximation of rank two, by orthogonal iteration on clipped symbols."""
    width, count = sample.width, sample.values.size
    down, picked = max(1, len(now.rows) // _SIDE), _columns(sample)
    whole = sample.values[: count // width * width].reshape(-1, width)
    tall = np.clip(picked(whole), -_CLIP, _CLIP).astype(np.float32)
    flat = np.clip(whole[::down], -_CLIP, _CLIP).astype(np.float32)
    cols = np.stack([np.ones(width), 1 - 2 * (np.arange(width) * 0x9E3779B1 >> 16 & 1)]).astype(np.float32)
    for _ in range(_POWER_ROUNDS):
        rows = _orthonormal(_rows(tall, picked(_orthonormal(cols))))
        cols = _cols(rows[:, ::down], flat)
    scale = np.sqrt(np.linalg.norm(cols, axis=1, keepdims=True) + 1e-12)
    row_phases = np.zeros(len(now.rows), np.int64)
    row_phases[: rows.shape[1]] = _phase(np.arctan2(*(rows * scale)[::-1]))
    return replace(now, row_phases=row_phases, col_phases=_phase(-np.arctan2(*(cols / scale)[::-1])))


def refined(sample: Sample, now: Classes) -> Classes:
    """Return the phases that cost the fewest bits with the chances that suit those of now."""
    grid = now.grid(sample.values.size)
    costs = _costs(sample.loops.tally(sample.values, grid, UNSHIFTED, sample.picked).signs)
    row_offset = naming(now.row_phases + PHASES, CLASSES) // sample.across
    col_offset = naming(now.col_phases + PHASES, CLASSES) // sample.down
    row_offset[2 * PHASES + 1 :] = col_offset[2 * PHASES + 1 :] = BIG
    own, other = ((x + PHASES).astype(np.uint8) for x in (now.row_phases, now.col_phases))
    ask = Question(costs, own, other, grid.rows != DEAD, row_offset, sample.across, sample.down)
    rows, spent = sample.loops.refine(sample.values, sample.values.size, ask)
    cols = np.argmin(spent + col_offset, axis=1)
    return replace(now, row_phases=rows.astype(np.int64) - PHASES, col_phases=cols - PHASES)


def promising(sample: Sample, now: Classes, share: float = PROMISING) -> bool:
    """Return if phases save this share of what naming them takes: they may pay in the end. Random signs save less."""
    grid = now.grid(sample.values.size)
    counts = sample.loops.tally(sample.values, grid, UNSHIFTED, sample.picked).signs
    told = counts[: 2 * PHASES + 1]
    named = sum(entropies(np.bincount(x + PHASES)) for x in (now.row_phases, now.col_phases))
    return bool(sample.tallied * (told.sum() - entropies(told).sum()) > share * named)


def _columns(sample: Sample) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what takes some columns of a matrix: of large ones, runs that fill lines of the cache."""
    across, run = max(1, sample.width // _SIDE), _RUN if sample.values.size >= LARGE else 1
    if across == 1 or run == 1:
        return lambda x: x[:, ::across]
    whole = sample.width // (across * run) * across * run
    return lambda x: x[:, :whole].reshape(len(x), -1, across * run)[:, :, :run].reshape(len(x), -1)


def _rows(x: Singles, vectors: Singles) -> Singles:
    # Not a matrix product: that of BLAS starts threads of its own.
    return np.stack([np.einsum("ij,j->i", x, vector) for vector in vectors])


def _cols(vectors: Singles, x: Singles) -> Singles:
    return np.stack([np.einsum("i,ij->j", vector, x) for vector in vectors])


def _orthonormal(pair: Singles) -> Singles:
    first = pair[0] / (np.linalg.norm(pair[0]) + 1e-12)
    second = pair[1] - (first @ pair[1]) * first
    return np.stack([first, second / (np.linalg.norm(second) + 1e-12)])


def _phase(angles: Singles) -> Ints:
    """Return the nearest phase of angles in radians."""
    twelfth = np.rint(angles * (PHASES / np.pi)).astype(np.int64) % (2 * PHASES)
    return np.asarray(np.where(twelfth < PHASES, 1, -1) * (twelfth % PHASES + 1))


def _costs(counts: Ints) -> Costs:
    """Return what signs cost more (or less) than a bit each: (states, phases of others, of candidates)."""
    seen = np.zeros((2 * PHASES, BINS, 2))
    seen[1:] = counts[2 : 2 * PHASES + 1]
    share = (seen[..., 1] + _PRIOR / 2) / (seen.sum(-1) + _PRIOR)
    bits = -UNIT * np.log2(np.clip(np.stack([1 - share, share], -1), 1e-4, 1)) - UNIT
    bits[0] = 0
    signed = np.arange(-PHASES, PHASES + 1)
    product = np.sign(signed)[:, None] * np.sign(signed)
    angles = np.where(product == 0, 0, np.abs(signed)[:, None] + np.abs(signed) - 1)
    costs = np.zeros((2 * BINS + 1, CLASSES, CLASSES), np.int32)
    for value in (x for x in range(-BINS, BINS + 1) if x):
        agree = (product * value > 0).astype(np.int64)
        costs[value + BINS, : len(signed), : len(signed)] = np.rint(bits[angles, abs(value) - 1, agree])
    return costs
