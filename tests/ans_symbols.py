"""Symbols to try `Ans` on: of every kind and shape, and with rows and columns that differ."""

from __future__ import annotations

import math

import numpy as np


def made(kind: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return 1-D int32 symbols of a kind for a tensor of the shape."""
    rng, count = np.random.default_rng(seed), math.prod(shape)
    normal = rng.standard_normal(count)
    values = {
        "zeros": normal * 0,
        "constant": np.full(count, 7.0),
        "ones": np.sign(normal) * (np.abs(normal) > 1),
        "narrow": normal * 0.8,
        "broad": normal * 60,
        "wide": np.clip(normal * 1e9, -(2**31), 2**31 - 1),
        "distinct": np.arange(count, dtype=np.float64),
        "rare": normal * (rng.random(count) < 0.003) * 100,
        "positive": np.abs(normal * 5),
        "extremes": np.where(normal > 0, 2**31 - 1, -(2**31)),
        "random": rng.integers(-(2**31), 2**31, count).astype(np.float64),
    }[kind]
    return values.round().astype(np.int64).astype(np.int32)


def product(shape: tuple[int, int], scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return Laplace symbols of a matrix whose rows and columns have scales of their own, and those scales."""
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.standard_normal((shape[0], 1)) + rng.standard_normal(shape[1])) * scale
    return (rng.laplace(0, 1, shape) * scales).round().astype(np.int32), scales


def entropy_bits(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * np.log2(values.size / counts)).sum())


def rank_two(shape: tuple[int, int], spread: float, seed: int = 0) -> np.ndarray:
    """Return symbols of a matrix of rank two under noise, whose rows and columns have scales of their own."""
    rng = np.random.default_rng(seed)
    scales = np.exp(spread * (rng.standard_normal((shape[0], 1)) + rng.standard_normal(shape[1])))
    mean = rng.standard_normal((shape[0], 2)) @ rng.standard_normal((2, shape[1]))
    return ((mean + 0.3 * rng.standard_normal(shape)) * scales).round().astype(np.int32)
