"""What a receiver accepts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a receiver accepts. The defaults fit any model; lower them for small devices."""

    tensors: int = 65_536
    dims: int = 8
    name_bytes: int = 256
    header_bytes: int = 1 << 20
    decoded_bytes: int = 1 << 40


DEFAULT_LIMITS = Limits()
INLINE_LIMITS = Limits(decoded_bytes=1 << 32)
"""For frames that bring their own schema: nobody but this limit says how much memory decoding may take."""
