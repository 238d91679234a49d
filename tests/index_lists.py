"""Ascending index lists for tests: random and clustered ones, and the combinatorial bound of their sizes."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from thinwire.kernels.indices import MOST

PLACES = 1 << 20


def uniform(density: float, places: int = PLACES) -> np.ndarray:
    """Return the places that a coin picks."""
    return np.flatnonzero(np.random.default_rng(7).random(places) < density)


def clustered(places: int = PLACES) -> np.ndarray:
    """Return a tenth of the places in a fifth of the rows."""
    generator = np.random.default_rng(7)
    hot = np.repeat(generator.random(places // 1024) < 0.2, 1024)
    return np.flatnonzero(hot & (generator.random(places) < 0.1))


def rows(density: float, width: int = 64, places: int = PLACES) -> np.ndarray:
    """Return all places of some rows, as the gradient of an embedding has them."""
    return np.flatnonzero(np.repeat(np.random.default_rng(7).random(places // width) < density, width))


def shifting(count: int) -> np.ndarray:
    """Return lists of three densities, one after the other, ``count`` indices each."""
    gaps = [np.random.default_rng(7).geometric(density, count) for density in (1.0, 0.01, 0.3)]
    return np.cumsum(np.concatenate(gaps)) - 1


def bound_bytes(indices: np.ndarray, places: int = PLACES) -> float:
    """Return log2 C(n, k): what a uniformly random support needs."""
    k = len(indices)
    nats = math.lgamma(places + 1) - math.lgamma(k + 1) - math.lgamma(places - k + 1)
    return nats / math.log(2) / 8


def _from_gaps(gaps: list[int]) -> np.ndarray:
    indices = np.cumsum(np.array(gaps, np.int64) + 1) - 1
    return indices[indices < MOST]


_gap = st.integers(0, 3) | st.integers(0, 300) | st.sampled_from([254, 255, 256, 4095, 4096, 65_535, 2**20, 2**39])
ascending = (
    st.sets(st.integers(0, 300))
    | st.sets(st.integers(0, MOST - 1))
    | st.sets(st.integers(MOST - 9, MOST - 1))
    | st.tuples(st.integers(0, 2**40 - 400), st.integers(0, 300)).map(lambda run: range(run[0], sum(run)))
).map(lambda values: np.array(sorted(values), np.int64)) | st.lists(_gap, max_size=200).map(_from_gaps)
"""None, one, few, consecutive, clustered and far indices."""
