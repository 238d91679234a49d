"""Messages as the bytes that a link moves: frames of the wire format, whose schema both ends know."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from thinwire.codec import Encoded, Message, Spec
from thinwire.errors import WireError
from thinwire.wire import dumps, loads


def framed(message: Mapping[str, Encoded]) -> Tensor:
    """Return the frame of a message as a 1-D uint8 tensor."""
    return torch.frombuffer(bytearray(dumps(message)), dtype=torch.uint8)


def unframed(data: Tensor, expect: Mapping[str, Spec], rank: int) -> Message:
    """Return the message that a rank framed. Raises WireError naming the rank."""
    try:
        return loads(data.numpy().tobytes(), expect)
    except WireError as error:
        raise WireError(f"what rank {rank} sent cannot be read: {error}") from None
