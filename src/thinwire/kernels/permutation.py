"""A random subset that every machine and library version draws alike: a keyed permutation in integer arithmetic."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_ROUNDS = 6
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_subset(numel: int, count: int, seed: int) -> Tensor:
    """Return ``count`` distinct indices below ``numel`` (int64, 1-D, not sorted), a function of the arguments alone.

    The images of 0..count-1 under a Feistel permutation of the next power of four; images outside are permuted again
    until they fall inside (cycle walking: Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half = np.uint64(max(1, (max(numel - 1, 1).bit_length() + 1) // 2))
    at = _permute(np.arange(count, dtype=np.uint64), half, seed)
    while (outside := at >= numel).any():
        at[outside] = _permute(at[outside], half, seed)
    return torch.from_numpy(at.astype(np.int64))


def _permute(at: np.ndarray, half: np.uint64, seed: int) -> np.ndarray:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = at >> half, at & mask
    for key in range(_ROUNDS):
        left, right = right, left ^ (_mix(right, seed * _ROUNDS + key) & mask)
    return (left << half) | right


def _mix(x: np.ndarray, key: int) -> np.ndarray:
    """Scramble 64-bit integers (the finalizer of SplitMix64: Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = x + np.uint64(key + 1) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
