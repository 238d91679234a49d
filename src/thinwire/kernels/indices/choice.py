"""Which coder a list of indices gets: one by name, or the smallest, for every chunk of a long list anew.

A chunk is a stream of its own, whose indices count from the one after the last of the chunk before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise

import numpy as np

from thinwire.errors import WireError
from thinwire.kernels.gaps import between
from thinwire.kernels.indices import limits, runs, single
from thinwire.kernels.indices.measured import Gaps
from thinwire.kernels.indices.reference import Integers

CODERS = single.CODERS | {"runs": single.Coder(6, runs.encode, runs.decode)}
_CHUNKS = 3
_CHUNK_LOG = 17
_CHUNK_LOGS = range(12, 25)
"""Chunks of at least 2**12 indices: how many there are follows from the count, and is small."""
_LENGTH = np.dtype("<u4")
_RUN = 1.5
_BETTER_WHOLE = {CODERS[name].number: CODERS[name] for name in ("gaps", "bitmap", "runs")}
"""What repeats may do so over longer distances than a chunk."""


def encode(indices: Integers, coder: str) -> bytes:
    """Return the stream of strictly ascending int64 indices from 0, below ``MOST``, by a coder or the ``smallest``.

    Where the gaps are not for the coder, Rice takes its place.
    """
    if not indices.size:
        return b""
    if coder == "smallest":
        return smallest(indices)
    gaps = Gaps(between(indices))
    return CODERS[coder].stream(gaps) or single.rice(gaps)


def smallest(indices: Integers, chunk_log: int = _CHUNK_LOG) -> bytes:
    """Return the smallest stream of one chunk, or of chunks of ``2**chunk_log`` indices.

    Chunks that mostly take the same coder are compared with the whole list by that coder.
    """
    chunks = [_smallest_of_one(gaps) for gaps in _cut(indices, 1 << chunk_log)]
    if len(chunks) == 1:
        return chunks[0]
    joined = _joined(chunks, chunk_log)
    usual = Counter(chunk[0] for chunk in chunks).most_common(1)[0][0]
    whole = _BETTER_WHOLE[usual].stream(Gaps(between(indices))) if usual in _BETTER_WHOLE else None
    return min(whole or joined, joined, key=len)


def _cut(indices: Integers, size: int) -> Iterator[Gaps]:
    for start in range(0, indices.size, size):
        gaps = between(indices[start : start + size])
        gaps[0] -= indices[start - 1] + 1 if start else 0
        yield Gaps(gaps)


def _smallest_of_one(gaps: Gaps) -> bytes:
    stream = single.smallest(gaps)
    promising = gaps.runs * _RUN <= gaps.size and runs.least_bytes(gaps) < len(stream)
    by_runs = CODERS["runs"].stream(gaps) if promising else None
    return min(stream, by_runs or stream, key=len)


def _joined(chunks: list[bytes], chunk_log: int) -> bytes:
    lengths = np.array([len(chunk) for chunk in chunks[:-1]], _LENGTH)
    return b"".join([bytes([_CHUNKS, chunk_log]), lengths.tobytes(), *chunks])


def decode(stream: bytes, count: int) -> Integers:
    """Return exactly ``count`` indices, strictly ascending from 0 and below ``MOST``, or raise WireError."""
    if not (stream and count):
        return _nothing(stream, count)
    if stream[0] == _CHUNKS:
        return _decode_chunks(stream, count)
    return single.decode(stream, count, CODERS)


def _nothing(stream: bytes, count: int) -> Integers:
    if stream or count:
        raise WireError(f"indices: {len(stream)} bytes for {count} indices")
    return np.empty(0, np.int64)


def _decode_chunks(stream: bytes, count: int) -> Integers:
    counts, bounds = _chunk_bounds(stream, count)
    out, done, base = np.empty(count, np.int64), 0, 0
    for size, (start, end) in zip(counts, pairwise(bounds), strict=True):
        chunk = out[done : done + size]
        np.add(single.decode(stream[start:end], size, CODERS), base, out=chunk)
        base = int(chunk[-1]) + 1
        limits.check_last(base - 1)
        done += size
    return out


def _chunk_bounds(stream: bytes, count: int) -> tuple[list[int], list[int]]:
    """Return the number of indices of every chunk, and where it starts in the stream, then where the last one ends."""
    if len(stream) < 2 or stream[1] not in _CHUNK_LOGS:
        raise WireError(f"indices: chunks of 2**{stream[1] if len(stream) > 1 else '?'} indices")
    size = 1 << stream[1]
    counts = [min(size, count - start) for start in range(0, count, size)]
    first = 2 + _LENGTH.itemsize * (len(counts) - 1)
    if len(stream) < first:
        raise WireError("indices: the lengths of the chunks are cut short")
    lengths = np.frombuffer(stream[2:first], _LENGTH).tolist()
    bounds = [*accumulate(lengths, initial=first), len(stream)]
    if bounds[-2] > len(stream):
        raise WireError("indices: the chunks are longer than the stream")
    return counts, bounds
