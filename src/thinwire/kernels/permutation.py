"""A random subset that every machine and library version draws alike: a keyed permutation in integer arithmetic."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint64]

ROUNDS = 6
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 1 << 64
_WORTH_COMPILING = 1 << 12


def random_subset(numel: int, count: int, seed: int) -> Tensor:
    """Return ``count`` distinct indices below ``numel`` (int64, 1-D, not sorted), a function of the arguments alone.

    The images of 0..count-1 under a Feistel permutation of the next power of four; images outside are permuted again
    until they fall inside (cycle walking: Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half = max(1, (max(numel - 1, 1).bit_length() + 1) // 2)
    keys = np.array([_key(seed * ROUNDS + turn) for turn in range(ROUNDS)], np.uint64)
    if count >= _WORTH_COMPILING:
        from thinwire.kernels import permutation_loops

        out = np.empty(count, np.int64)
        permutation_loops.subset(np.uint64(numel), np.uint64(half), keys, out)
        return torch.from_numpy(out)
    return torch.from_numpy(_walked(numel, count, np.uint64(half), keys).astype(np.int64))


def random_words(count: int, key: int) -> Words:
    """Return that many words of 64 random bits: the finalizer of SplitMix64 on 0, 1, 2, ..."""
    with np.errstate(over="ignore"):
        return _mixed(np.arange(count, dtype=np.uint64), np.uint64(_key(key)))


def _walked(numel: int, count: int, half: np.uint64, keys: Words) -> Words:
    with np.errstate(over="ignore"):
        if 1 << 2 * int(half) <= 8 * count:
            # All of the domain at once: a walk is then a look-up, and there are about as many as the domain has bits.
            table = _permuted(np.arange(1 << 2 * int(half), dtype=np.uint64), half, keys)
            at = table[:count].copy()
            while (outside := np.flatnonzero(at >= numel)).size:
                at[outside] = table[at[outside]]
            return at
        at = _permuted(np.arange(count, dtype=np.uint64), half, keys)
        while (outside := np.flatnonzero(at >= numel)).size:
            at[outside] = _permuted(at[outside], half, keys)
        return at


def _permuted(at: Words, half: np.uint64, keys: Words) -> Words:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = at >> half, at & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right, key) & mask)
    return (left << half) | right


def _key(key: int) -> int:
    return (key + 1) * _GOLDEN % _WORD


def _mixed(x: Words, key: np.uint64) -> Words:
    """Scramble 64-bit integers (the finalizer of SplitMix64: Steele, Lea and Flood 2014)."""
    z = x + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
