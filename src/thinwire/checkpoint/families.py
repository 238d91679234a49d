"""Low rank instead of a quantizer, where it is smaller at the same error: what training adds often is of low rank."""

from __future__ import annotations

import torch

from thinwire.checkpoint.measure import energy64, squared_error
from thinwire.checkpoint.sent import Given, Sent
from thinwire.codec import decode
from thinwire.registry import parse

_FACTOR_BITS = 4.0
"""About what an element of a factor takes at least."""
_LEAST, _MOST = 1e-9, 0.99


def smaller(given: Given, sent: Sent, nmse: float | None = None) -> Sent:
    """Return what was sent, or low rank within ``nmse`` where that is smaller. None: within the error that it has."""
    if sent.encoded.codec.lossless:
        return sent
    if nmse is None:
        target = given.target()
        nmse = squared_error(target, decode(sent.encoded)) / energy64(target)
    return low_rank(given, nmse, sent.payload_bytes) or sent


def low_rank(given: Given, nmse: float, below_bytes: float) -> Sent | None:
    """Return a piece as low rank within an error, if that takes less. The spectrum says whether to try."""
    if len(given.piece.shape) < 2 or not _LEAST < nmse < _MOST or _least_bytes(given, nmse) >= below_bytes:
        return None
    sent = given.lossy(parse(f"LowRank(nmse={nmse!r}, left=Ans(), right=Ans())"))
    return sent if sent.payload_bytes < below_bytes else None


def _least_bytes(given: Given, nmse: float) -> float:
    """Return about what as many components as the error demands take at least."""
    rest = 1.0 - torch.cumsum(given.spectrum, 0)
    rank = int((rest > nmse).sum()) + 1
    sides = given.piece.shape[0] + given.piece.spec.numel // given.piece.shape[0]
    return rank * sides * _FACTOR_BITS / 8
