"""How many bytes a rank's own encodings take, whatever the number of ranks that they go to."""

from __future__ import annotations

from typing import Any

from thinwire.exchange.requests import AllToAll, Average, Exchange, Gather, Request, Sum
from thinwire.wire import FRAME_BYTES, TENSOR_BYTES


class Encodings:
    """Counts the bytes of one encoding of each tensor of a bucket, as its exchanges come by."""

    def __init__(self) -> None:
        self.payload_bytes = 0

    def counted(self, exchange: Exchange) -> Exchange:
        """Run an exchange as it is and count what it encodes of this rank's tensor, once: not the mean of a shard."""
        reply: list[Any] | None = None
        shots = False
        while True:
            try:
                request = exchange.send(reply)  # type: ignore[arg-type]
            except StopIteration as end:
                average: Average = end.value
                return average
            if not (shots and isinstance(request, Gather)):
                self.payload_bytes += _nbytes(request)
            shots = shots or isinstance(request, AllToAll)
            reply = yield request


def framed_bytes(payload_bytes: int, tensors: int) -> int:
    """Return at most what a frame of so many tensors takes: as budgets reckon, and the same whatever the buckets."""
    return payload_bytes + FRAME_BYTES + TENSOR_BYTES * tensors


def _nbytes(request: Request) -> int:
    if isinstance(request, Sum):
        return sum(x.numel() * x.dtype.itemsize for x in request.tensors)
    encoded = request.encoded if isinstance(request, AllToAll) else (request.encoded,)
    return sum(each.payload_bytes for each in encoded)
