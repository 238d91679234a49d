"""Static rANS with integer tables, and magnitude classes and signs of rows and columns as its context.

``encode`` and ``decode`` are all that a codec needs. ``model``, ``contexts`` and ``costs`` tell a quantizer what each
symbol would cost where it stands, so that it can choose symbols that are cheap and close.
"""

from __future__ import annotations

import math

import numpy as np

from thinwire.errors import WireError
from thinwire.kernels import chunks
from thinwire.kernels.ans import orders, stream
from thinwire.kernels.ans.blocks import Values
from thinwire.kernels.ans.choice import choose, surveyed
from thinwire.kernels.ans.models import Model
from thinwire.kernels.ans.prices import contexts, costs

__all__ = ["Model", "contexts", "costs", "decode", "encode", "model"]

Shape = tuple[int, ...]

_ZEROS, _CHUNK = b"\0", b"\1"
_SMALL, _FEW = 1 << 14, 1 << 8
_LEVEL = 1


def encode(values: Values, shape: Shape, like: Model | None = None) -> bytes:
    """Return the stream of 1-D int32 symbols; ``shape`` is that of their tensor: its rows and columns are context.

    ``like`` is a model of nearly the same symbols: its rows and columns keep their classes, which saves time. Symbols
    that it does not suit are coded all the same.
    """
    if not (values[:_FEW].any() or values.any()):
        return _ZEROS if values.size else b""
    mode, ordered, choice = orders.best(values, shape, like.classes if like else None)
    streams = [mode + stream.write(ordered, found, choice.try_chunks) for found in choice.models]
    if choice.try_chunks and values.size <= _SMALL:
        streams.append(_CHUNK + chunks.encode(values, _LEVEL))
    return min(streams, key=len)


def decode(data: bytes, shape: Shape) -> Values:
    """Return the symbols (1-D int32) of a tensor's shape from their stream, or raise WireError."""
    count = math.prod(shape)
    mode, body = data[:1], data[1:]
    if not count or mode == _ZEROS:
        if body or len(mode) != (count > 0):
            raise WireError(f"ans: {len(data)} bytes for {count} zeros")
        return np.zeros(count, np.int32)
    if mode == _CHUNK:
        return chunks.decode(body, count)
    orders.check(mode, shape)
    return orders.undone(mode, stream.read(body, count), shape)


def model(values: Values, shape: Shape) -> Model:
    """Return the model that suits symbols that are not all zero."""
    return choose(values, shape, surveyed(values, shape)).models[0]
