"""What a receiver accepts, which is all that a sender writes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a receiver accepts. The defaults fit any model; lower them for small devices, at both ends.

    ``header_bytes`` is the most that codec table, inline schema and records may take together; ``decoded_bytes`` the
    dense size of all tensors. Work follows bytes (docs/wire-format.md), so these bound it too.
    """

    tensors: int = 1 << 18
    dims: int = 8
    name_bytes: int = 1024
    header_bytes: int = 1 << 26
    decoded_bytes: int = 1 << 40

    def header_bytes_of(self, tensors: int) -> int:
        """Return the most header bytes of a message of so many tensors: they follow the schema."""
        return min(self.header_bytes, (1 << 20) + (tensors << 11))


DEFAULT_LIMITS = Limits()
INLINE_LIMITS = Limits(decoded_bytes=1 << 32)
"""For frames that bring their own schema: nobody but this limit says how much memory decoding may take."""
