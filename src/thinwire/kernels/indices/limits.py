"""What every coder of indices refuses."""

from __future__ import annotations

from thinwire.errors import WireError

MOST = 2**40
"""Indices are below this, which keeps every sum within int64."""


def check_width(width: int, count: int) -> None:
    """Raise WireError where ``count`` gaps with ``width`` low bits could overflow an int64."""
    if count << width > 4 * MOST:
        raise WireError(f"indices: no remainder width that {count} gaps below {MOST} can have")


def check_found(found: int, count: int) -> None:
    """Raise WireError unless a stream holds ``count`` indices."""
    if found != count:
        more = "at least " if found > count else ""
        raise WireError(f"indices: the stream holds {more}{found} indices, expected {count}")


def check_last(last: int) -> None:
    """Raise WireError unless an index is below ``MOST``."""
    if last >= MOST:
        raise WireError(f"indices: an index is {MOST} or more")


def most_gap_bytes(count: int) -> int:
    """Return the bytes of gaps that ``count`` indices may take before zstd; wider gaps are for other coders."""
    return 16 * count + 4096


def most_bitmap_bytes(count: int) -> int:
    """Return the bytes that a bitmap of ``count`` indices may take before zstd."""
    return 64 * count + 64
