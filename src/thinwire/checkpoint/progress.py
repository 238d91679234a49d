"""How far packing or unpacking is."""

from __future__ import annotations

from collections.abc import Callable

OnBytes = Callable[[str, int, int], None]
"""Called with what is being done, the dense bytes that were done since the last call, and those in all."""


def ignore(stage: str, more_bytes: int, total_bytes: int) -> None:
    """Show nothing."""
