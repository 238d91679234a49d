"""The hashing trick (Weinberger et al. 2009): a category or a cross of categories becomes a bucket number.

Clients need to agree on no vocabulary, and a category never seen before still has a place.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def bucket_ids(
    columns: Mapping[str, Sequence[str]], features: Iterable[tuple[str, ...]], buckets: int
) -> NDArray[np.int32]:
    """Return int32 [rows, features] in 0..buckets-1; a feature is a tuple of column names, a cross if more than one."""
    return np.stack([_hashed(columns, feature, buckets) for feature in features], axis=1)


def _hashed(columns: Mapping[str, Sequence[str]], feature: tuple[str, ...], buckets: int) -> NDArray[np.int32]:
    values = list(zip(*(columns[name] for name in feature), strict=True))
    # Each distinct value is hashed once: a column repeats its values many times.
    bucket_of = {value: zlib.crc32(repr((feature, value)).encode()) % buckets for value in set(values)}
    return np.array([bucket_of[value] for value in values], dtype=np.int32)
