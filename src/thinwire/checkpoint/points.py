"""What a piece costs and loses at steps from far above its RMS to far below: of large ones some rows are encoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thinwire.checkpoint.families import low_rank
from thinwire.checkpoint.measure import energy64, squared_error
from thinwire.checkpoint.sent import Given
from thinwire.codec import Codec, decode
from thinwire.policy.plan import Point
from thinwire.registry import parse

_OCTAVES = (2.5, 1.9, 1.4, 0.8, 0.0, -1.0, -2.1, -3.2, -4.5, -6.0, -9.0, -14.0, -20.0)
_SAMPLE = 1 << 16
_FEW = 1 << 12
"""Elements of a small tensor whose entropy is taken."""


def quantizer(step: float) -> Codec:
    """Return the codec of large tensors whose step a budget varies."""
    return parse(f"Rdoq(step={step!r})")  # type: ignore[no-any-return]


def small_quantizer(step: float) -> Codec:
    """Return that of small ones: a fraction of the time, and bytes that hardly count."""
    return parse(f"Step(step={step!r})")  # type: ignore[no-any-return]


def encoded_points(given: Given, sample: Given) -> Iterator[Point]:
    """Yield points of the whole piece: quantized as its sample is, or of low rank, which no sample of rows can tell."""
    target, scale = sample.target(), given.piece.spec.numel / sample.piece.spec.numel
    energy = energy64(target)
    for step in _steps(energy, target.numel()):
        codec = quantizer(step)
        sent = sample.lossy(codec)
        if sent.encoded.codec.lossless:
            return
        error = squared_error(target, decode(sent.encoded))
        other = low_rank(given, error / energy, sent.payload_bytes * scale)
        yield Point(codec, other.payload_bytes if other else sent.payload_bytes * scale, error * scale)


def entropy_points(given: Given) -> Iterator[Point]:
    """Yield points of a small piece as the entropy of its rounded values tells them: thousands of biases take no time.

    A symbol that occurs is taken to cost a byte in the table.
    """
    target = given.target().reshape(-1)
    some = target[:: max(1, target.numel() // _FEW)].double().numpy()
    scale = target.numel() / some.size
    for step in _steps(float(np.square(some).sum()), some.size):
        symbols = np.rint(some / step)
        counts = np.unique(symbols, return_counts=True)[1]
        error = float(np.square(symbols * step - some).sum())
        yield Point(small_quantizer(step), scale * _entropy_bytes(counts) + len(counts), scale * error)


def sample_of(given: Given) -> Given:
    """Return some rows, or where there are few rows some columns, as a piece of its own."""
    shape, count = given.piece.shape, given.piece.spec.numel
    rows = shape[0] if shape else 1
    every = max(1, count // _SAMPLE)

    def picked(x: Tensor) -> Tensor:
        return x[::every] if rows >= 8 * every or len(shape) < 2 else x.reshape(rows, -1)[:, ::every]

    if every == 1:
        return given
    x = picked(given.x).contiguous()
    base = None if given.base is None else picked(given.base).contiguous()
    return replace(given, piece=replace(given.piece, start=0, shape=tuple(x.shape)), x=x, base=base)


def _steps(energy: float, count: int) -> list[float]:
    """Return steps around the RMS, the coarsest first; none where all is zero."""
    rms = math.sqrt(energy / max(count, 1))
    return [rms * 2.0**octave for octave in _OCTAVES] if rms else []


def _entropy_bytes(counts: NDArray[np.int64]) -> float:
    return float((counts * np.log2(counts.sum() / counts)).sum()) / 8
