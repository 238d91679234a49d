"""Static rANS with integer tables, and magnitude classes and signs of rows and columns as its context.

``encode`` and ``decode`` are all that a codec needs; ``narrowed`` and ``pieces`` are for one that has or wants a piece
at a time. ``model``, ``contexts`` and ``costs`` tell a quantizer what each symbol would cost where it stands, so that
it can choose symbols that are cheap and close.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from thinwire.errors import WireError
from thinwire.kernels import chunks
from thinwire.kernels.ans import orders, stream
from thinwire.kernels.ans.alphabet import Symbols, Values
from thinwire.kernels.ans.bits import Bytes
from thinwire.kernels.ans.choice import choose, surveyed
from thinwire.kernels.ans.joining import joined, narrowed
from thinwire.kernels.ans.models import Model
from thinwire.kernels.ans.prices import contexts, costs

__all__ = ["Model", "contexts", "costs", "decode", "encode", "model", "narrowed", "pieces"]

Shape = tuple[int, ...]

_ZEROS, _CHUNK = b"\0", b"\1"
_SMALL, _FEW = 1 << 14, 1 << 8
_PIECE = 1 << 18


def encode(values: Symbols, shape: Shape, like: Model | None = None) -> bytearray:
    """Return the stream of 1-D int16 or int32 symbols; rows and columns of ``shape``, their tensor's, are context.

    ``like`` is a model of nearly the same symbols: its rows and columns keep their classes, which saves time. Symbols
    that it does not suit are coded all the same.
    """
    if not (values[:_FEW].any() or values.any()):
        return bytearray(_ZEROS if values.size else b"")
    mode, ordered, choice = orders.best(values, shape, like.classes if like else None)
    worth = [found for found in choice.models if found.tables.serve(values.size)]
    streams = [stream.write(ordered, found, choice.try_chunks, mode) for found in worth]
    if not streams or (choice.try_chunks and values.size <= _SMALL):
        streams.append(bytearray(_CHUNK + stream.chunk(values)))
    return min(streams, key=len)


def decode(data: Bytes, shape: Shape) -> Values:
    """Return the symbols (1-D int32) of a tensor's shape from their stream, or raise WireError."""
    return joined(pieces(data, shape), math.prod(shape))


def pieces(data: Bytes, shape: Shape) -> Iterator[Values]:
    """Yield the symbols (1-D int32) of a tensor's shape from their stream, piece by piece, or raise WireError."""
    count, mode, body = math.prod(shape), bytes(data[:1]), memoryview(data)[1:]
    if not count or mode == _ZEROS:
        if body or len(mode) != (count > 0):
            raise WireError(f"ans: {len(data)} bytes for {count} zeros")
        yield from (np.zeros(min(_PIECE, count - first), np.int32) for first in range(0, count, _PIECE))
    elif mode == _CHUNK:
        yield chunks.decode(body, count)
    else:
        orders.check(mode, shape)
        yield from orders.undone(mode, stream.read(body, count), shape)


def model(values: Symbols, shape: Shape) -> Model:
    """Return the model that suits symbols that are not all zero."""
    return choose(values, shape, surveyed(values, shape)).models[0]
