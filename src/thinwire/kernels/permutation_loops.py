"""The walks of ``permutation`` compiled by numba, an element at a time: nothing of the subset's size but the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from thinwire.kernels.jit import njit

_inlined = njit(inline="always")
_jit = njit(cache=True, nogil=True, boundscheck=False)


@_inlined  # type: ignore[untyped-decorator]
def _permuted(at: Any, half: Any, mask: Any, keys: Any) -> Any:
    left, right = at >> half, at & mask
    for turn in range(len(keys)):
        z = right + keys[turn]
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        left, right = right, left ^ ((z ^ (z >> np.uint64(31))) & mask)
    return (left << half) | right


@_jit  # type: ignore[untyped-decorator]
def subset(numel: Any, half: Any, keys: Any, out: Any) -> None:
    """Write the images of 0, 1, ... below ``numel`` to ``out`` (int64); all else is uint64."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    for i in range(len(out)):
        at = _permuted(np.uint64(i), half, mask, keys)
        while at >= numel:
            at = _permuted(at, half, mask, keys)
        out[i] = np.int64(at)
